"""Engine throughput against mlx-lm's own batch generator, in interleaved pairs.

Ours: requests submitted to `EngineFront`, text received by one trio task per request, until each has its terminal
event. Peer: ``BatchGenerator.insert_segments`` and a bare ``next()`` loop on a worker thread until all rows are
finished; it makes token ids only, no text, no events, no accounting. Both get the same prompts, rows and token counts,
prefill included, and end tokens are off on both sides, so that every run samples exactly the same number of tokens. The
interpreter is set up as the daemon's is. Ratios are medians over pairs, with their quartiles.

Beside it, with `bench.engine_latency`: standstills of a running answer and delays of the event loop.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import trio

from bench.engine_latency import LATENCY_KEYS, measure_latency
from provider.daemon.interpreter import SWITCH_INTERVAL_SECONDS, settle_heap
from provider.engine import EngineFront, EngineLimits, GenerationRequest, LoadedModel
from provider.engine.backend import Generator
from provider.engine.own_thread import run_in_own_thread
from provider.models.load import load_model
from tests.testbed.tiny_model import EIGHT_MILLION, TINY, build_tiny_model

DEMO_DIRECTORY = Path(__file__).parents[1] / "provider" / "demo" / "model"
BATCHES = (1, 4, 16)
PROMPT_TOKENS = 16
PAIRS = {1: 27, 4: 27, 16: 9}
"""Pairs of runs for each batch size. Small batches have more and shorter ones: other work that falls on one run of a
pair alone moves its ratio, and long runs meet more of it."""

QUICK_PAIRS = 3
TARGETS = {"8m": 0.95, "demo": 0.90}

Quartiles = tuple[float, float, float]
"""First quartile, median and third quartile."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure, and how many tokens each row generates per batch size."""

    key: str
    label: str
    directory: Path
    model: LoadedModel
    tokens: dict[int, int]


def run(*, quick: bool = False) -> dict[str, object]:
    """Measure and return the figures.

    Keys: ``ratio_8m`` and ``ratio_demo`` map batch size to the median over pairs of our tokens per second divided by
    the peer's, ``spread_*`` to its first and third quartile; ``cpu_*`` and ``cpu_spread_*`` are the same of processor
    time, peer's divided by ours, which other work on the machine disturbs less; ``tps_*`` our median tokens per second;
    ``label_*`` says which model was measured; ``pairs`` how many pairs each batch size had. The keys of
    `bench.engine_latency` are there too.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return trio.run(_measure, Path(scratch), quick)
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()


async def _measure(scratch: Path, quick: bool) -> dict[str, object]:
    pairs = dict.fromkeys(BATCHES, QUICK_PAIRS) if quick else PAIRS
    figures: dict[str, object] = {"pairs": pairs}
    subjects = _subjects(scratch, quick)
    settle_heap()
    for subject in subjects:
        found = {batch: await _compare(subject, batch, pairs[batch]) for batch in BATCHES}
        key = subject.key
        figures[f"ratio_{key}"] = {batch: speed[1] for batch, (speed, _, _) in found.items()}
        figures[f"spread_{key}"] = {batch: speed[::2] for batch, (speed, _, _) in found.items()}
        figures[f"cpu_{key}"] = {batch: cpu[1] for batch, (_, cpu, _) in found.items()}
        figures[f"cpu_spread_{key}"] = {batch: cpu[::2] for batch, (_, cpu, _) in found.items()}
        figures[f"tps_{key}"] = {batch: speed for batch, (_, _, speed) in found.items()}
        figures[f"label_{key}"] = subject.label
    return figures | await measure_latency(subject.model, subject.directory, quick=quick)


def _subjects(scratch: Path, quick: bool) -> list[Subject]:
    scale = 3 if quick else 1
    large = build_tiny_model(scratch / "8m", shape=EIGHT_MILLION)
    demo, label = DEMO_DIRECTORY, "demo model"
    if not (demo / "config.json").is_file():
        shape = replace(TINY, hidden_size=128, num_hidden_layers=4, intermediate_size=384)
        demo, label = build_tiny_model(scratch / "demo", shape=shape), "random model of demo size"
    return [
        _subject("8m", "random 8 M parameters", large, {1: 36 // scale, 4: 18 // scale, 16: 32 // scale}),
        _subject("demo", label, demo, {1: 80 // scale, 4: 54 // scale, 16: 96 // scale}),
    ]


def _subject(key: str, label: str, directory: Path, tokens: dict[int, int]) -> Subject:
    model = replace(load_model(key, directory), eos_ids=frozenset())
    return Subject(key, label, directory, model, tokens)


async def _compare(subject: Subject, batch: int, pairs: int) -> tuple[Quartiles, Quartiles, float]:
    """Ratios of speed and of processor time, and our median tokens per second, after one unmeasured pair."""
    tokens = subject.tokens[batch]
    samples: list[tuple[float, float, float]] = []
    limits = EngineLimits(max_concurrent=batch)
    async with EngineFront.open(headroom=lambda: 1 << 34, limits=limits) as engine:
        await engine.attach_model(subject.model)

        async def ours() -> Cost:
            with Cost() as cost:
                await _ours(engine, subject.model, batch, tokens)
            return cost

        async def peer() -> Cost:
            with Cost() as cost:
                await run_in_own_thread(partial(_peer, subject.model, batch, tokens), name="peer")
            return cost

        for pair in range(pairs + 1):
            if pair % 2:
                mine, theirs = await ours(), await peer()
            else:
                theirs, mine = await peer(), await ours()
            if pair:
                samples.append((theirs.wall / mine.wall, theirs.processor / mine.processor, batch * tokens / mine.wall))
    speed_ratios, processor_ratios, speeds = zip(*samples, strict=True)
    return _quartiles(speed_ratios), _quartiles(processor_ratios), round(statistics.median(speeds), 1)


def _quartiles(values: Sequence[float]) -> Quartiles:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return round(low, 3), round(middle, 3), round(high, 3)


class Cost:
    """Wall and processor seconds of a block."""

    def __enter__(self) -> "Cost":
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.processor += time.process_time()


def _prompt(row: int) -> tuple[int, ...]:
    return tuple(10 + (row * 7 + place * 3) % 200 for place in range(PROMPT_TOKENS))


async def _ours(engine: EngineFront, model: LoadedModel, batch: int, tokens: int) -> None:
    """Run `batch` requests through the engine front."""

    async def one(row: int) -> None:
        request = GenerationRequest(model=model.model_id, prompt_tokens=_prompt(row), max_tokens=tokens)
        async with engine.submit(request) as generation:
            while generation.finished is None:
                await generation.receive_batch()
            assert generation.finished.usage.completion_tokens == tokens

    async with trio.open_nursery() as nursery:
        for row in range(batch):
            nursery.start_soon(one, row)


def _peer(model: LoadedModel, batch: int, tokens: int) -> None:
    """Run the same rows through the bare batch generator."""
    import mlx.core as mx
    from mlx_lm.generate import BatchGenerator

    stream = mx.new_stream(mx.default_device())
    generator = cast(
        Generator,
        BatchGenerator(model.network, completion_batch_size=batch, prefill_batch_size=min(batch, 8), stream=stream),
    )
    generator.insert_segments([[list(_prompt(row))] for row in range(batch)], [tokens] * batch)
    left = batch
    while left:
        for response in generator.next()[1]:
            if response.finish_reason is not None:
                left -= 1
    generator.close()


def table(result: dict[str, object]) -> str:
    """Render the ratios, each as median and quartiles, with their targets."""
    lines = [
        "| model | batch | pairs | tokens/s | throughput ratio | CPU ratio | target |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    pairs = cast("dict[int, int]", result["pairs"])
    for key, target in TARGETS.items():
        ratios, cpu, rates = (cast("dict[int, float]", result[f"{part}_{key}"]) for part in ("ratio", "cpu", "tps"))
        spread, cpu_spread = (
            cast("dict[int, tuple[float, float]]", result[f"{part}_{key}"]) for part in ("spread", "cpu_spread")
        )
        for batch, ratio in ratios.items():
            both = f"{_shown(ratio, spread[batch])} | {_shown(cpu[batch], cpu_spread[batch])}"
            figures = f"{rates[batch]:,.0f} | {both} | ≥ {target:.2f}"
            lines.append(f"| {result[f'label_{key}']} | {batch} | {pairs[batch]} | {figures} |")
    lines += ["", "| | worst or p99, ms | median, ms | target, ms |", "|---|--:|--:|--:|"]
    for what, high, middle, goal in LATENCY_KEYS:
        lines.append(f"| {what} | {result[high]} | {result[middle]} | {goal} |")
    return "\n".join(lines)


def _shown(median: float, quartiles: tuple[float, float]) -> str:
    return f"{median:.2f} ({quartiles[0]:.2f}–{quartiles[1]:.2f})"


if __name__ == "__main__":
    print(table(run(quick="--quick" in sys.argv)))
