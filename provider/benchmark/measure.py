"""The measurements, through the engine that serves requests: greedy, without stored prefixes, end tokens off."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import trio

from provider.benchmark.plan import (
    ARRIVAL_DISTANCE_SECONDS,
    ARRIVAL_ROWS,
    DECODE_PROMPT_TOKENS,
    BenchmarkPlan,
    prompt_of,
)
from provider.benchmark.results import ArrivalResult, Cell, Samples
from provider.engine import Delta, Engine, Finished, FinishReason, GenerationRequest, LoadedModel

Progress = Callable[[str], None]


class MeasurementFailed(Exception):
    """A row did not come to its end; the text is the engine's fixed one."""


def endless(model: LoadedModel) -> LoadedModel:
    """Return the model without end tokens, so that every row makes as many tokens as it is asked for, all visible."""
    return replace(model, eos_ids=frozenset(), vocabulary=model.vocabulary.showing(model.vocabulary.hidden))


@dataclass(slots=True)
class _Row:
    began: float
    first: float = 0.0
    ended: float = 0.0
    tokens: int = 0
    text: str = ""


async def measure_table(
    engine: Engine, model: LoadedModel, plan: BenchmarkPlan, *, progress: Progress
) -> tuple[list[Cell], list[Cell], bool | None]:
    """Measure prefill by prompt length and decoding by batch size; the last value is parity (see the report).

    Sizes that do not fit into the model's context or the engine's batch are left out. Raises `MeasurementFailed`.
    """
    prefill = [
        await _prefill(engine, model, length, plan.iterations, progress)
        for length in plan.prefill_lengths
        if length + 1 < model.context_tokens
    ]
    decode: list[Cell] = []
    alone = together = ""
    for batch in plan.batch_sizes:
        cell, text = await _decode(engine, model, batch, plan, progress)
        decode.append(cell)
        if batch == 1:
            alone = text
        together = text
    parity = alone == together if 1 in plan.batch_sizes and len(decode) > 1 else None
    return prefill, decode, parity


async def measure_prompt(
    engine: Engine, model: LoadedModel, prompt: tuple[int, ...], *, max_tokens: int, iterations: int, progress: Progress
) -> tuple[Cell, Cell]:
    """Measure one given prompt: (its prefill with the time to the first token, its decoding alone)."""
    speeds, waits, rates = [], [], []
    for iteration in range(iterations + 1):
        progress(f"prompt, run {iteration}")
        row = await _run(engine, model, prompt, max_tokens)
        if iteration:
            wait = row.first - row.began
            waits.append(wait * 1000)
            speeds.append(len(prompt) / wait)
            if row.tokens > 1:
                rates.append((row.tokens - 1) / max(1e-9, row.ended - row.first))
    prefill = Cell(size=len(prompt), tokens_per_second=Samples.of(speeds), ttft_ms=Samples.of(waits))
    return prefill, Cell(size=1, tokens_per_second=Samples.of(rates or [0.0]))


async def measure_arrival(
    engine: Engine, model: LoadedModel, plan: BenchmarkPlan, *, progress: Progress
) -> ArrivalResult:
    """Compare a burst of four rows with the same rows arriving one after another."""
    spans: dict[bool, list[float]] = {True: [], False: []}
    texts: set[tuple[str, ...]] = set()
    for iteration in range(plan.iterations + 1):
        for is_burst in (True, False):
            progress(f"arrival, run {iteration}")
            distance = 0.0 if is_burst else ARRIVAL_DISTANCE_SECONDS
            rows = await _run_rows(engine, model, ARRIVAL_ROWS, plan.decode_tokens, distance)
            texts.add(tuple(row.text for row in rows))
            if iteration:
                spans[is_burst].append(max(row.ended for row in rows) - min(row.began for row in rows))
    return ArrivalResult(
        rows=ARRIVAL_ROWS,
        burst_seconds=Samples.of(spans[True]),
        staggered_seconds=Samples.of(spans[False]),
        same_output=len(texts) == 1,
    )


async def _prefill(engine: Engine, model: LoadedModel, length: int, iterations: int, progress: Progress) -> Cell:
    speeds, waits = [], []
    for iteration in range(iterations + 1):
        progress(f"prefill {length}, run {iteration}")
        row = await _run(engine, model, prompt_of(length, iteration, model.logits_size), 1)
        if iteration:
            seconds = row.ended - row.began
            waits.append(seconds * 1000)
            speeds.append(length / seconds)
    return Cell(size=length, tokens_per_second=Samples.of(speeds), ttft_ms=Samples.of(waits))


async def _decode(
    engine: Engine, model: LoadedModel, batch: int, plan: BenchmarkPlan, progress: Progress
) -> tuple[Cell, str]:
    """Tokens per second of all rows together, from the last first token on; and the first row's text."""
    speeds, text = [], ""
    for iteration in range(plan.iterations + 1):
        progress(f"decode {batch}, run {iteration}")
        rows = await _run_rows(engine, model, batch, plan.decode_tokens, 0.0)
        text = rows[0].text
        if iteration:
            span = max(row.ended for row in rows) - max(row.first for row in rows)
            speeds.append(sum(row.tokens - 1 for row in rows) / max(1e-9, span))
    return Cell(size=batch, tokens_per_second=Samples.of(speeds)), text


async def _run_rows(engine: Engine, model: LoadedModel, count: int, tokens: int, distance: float) -> list[_Row]:
    rows: dict[int, _Row] = {}

    async def one(number: int) -> None:
        await trio.sleep(number * distance)
        rows[number] = await _run(engine, model, prompt_of(DECODE_PROMPT_TOKENS, number, model.logits_size), tokens)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return [rows[number] for number in range(count)]


async def _run(engine: Engine, model: LoadedModel, prompt: tuple[int, ...], tokens: int) -> _Row:
    request = GenerationRequest(model=model.model_id, prompt_tokens=prompt, max_tokens=tokens)
    row = _Row(perf_counter())
    pieces: list[str] = []
    async with engine.submit(request) as generation:
        async for event in generation:
            now = perf_counter()
            row.first = row.first or now
            if isinstance(event, Delta):
                pieces.append(event.text)
            elif isinstance(event, Finished):
                row.ended, row.tokens = now, event.usage.completion_tokens
                if event.reason not in (FinishReason.LENGTH, FinishReason.STOP):
                    why = "" if event.failure is None else event.failure.text
                    raise MeasurementFailed(why or "A measured request was cancelled.")
    row.text = "".join(pieces)
    return row
