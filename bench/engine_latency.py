"""How long a running answer stands still while a long prompt joins, and how late the event loop runs meanwhile."""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import trio

from provider.engine import Delta, EngineFront, EngineLimits, Finished, GenerationRequest, LoadedModel
from tests.testbed.statistics import percentile

LONG_PROMPT_TOKENS = 2048
WARM_UP_TOKENS = 16
LATENESS_TICK_SECONDS = 0.005
SATURATING_ROWS = 16


async def measure_gaps(model: LoadedModel, rounds: int) -> list[float]:
    """Longest distance in seconds between two pieces of a running row while a 2,048-token prompt joins, each round.

    The speed of prompts is measured by the engine in an unmeasured round before. Every token shows, end tokens too.
    """
    model = replace(model, vocabulary=model.vocabulary.showing(model.vocabulary.hidden))
    gaps: list[float] = []
    async with EngineFront.open(headroom=lambda: 1 << 34, limits=EngineLimits(max_concurrent=4)) as engine:
        await engine.attach_model(model)
        for number in range(rounds + 1):
            gap = await _one_gap(engine, model, number)
            if number:
                gaps.append(gap)
    return gaps


async def _one_gap(engine: EngineFront, model: LoadedModel, number: int) -> float:
    joined, over = trio.Event(), trio.Event()
    stamps: list[float] = []

    async def running() -> None:
        budget = model.context_tokens - 64
        request = GenerationRequest(model=model.model_id, prompt_tokens=_prompt(8, number), max_tokens=budget)
        async with engine.submit(request) as generation:
            async for event in generation:
                if isinstance(event, Delta):
                    stamps.append(time.perf_counter())
                if len(stamps) == WARM_UP_TOKENS:
                    joined.set()
                if over.is_set():
                    return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(running)
        await joined.wait()
        long = GenerationRequest(model=model.model_id, prompt_tokens=_prompt(LONG_PROMPT_TOKENS, number), max_tokens=4)
        began = time.perf_counter()
        async with engine.submit(long) as generation:
            async for event in generation:
                if isinstance(event, Finished):
                    assert event.usage.completion_tokens == 4
        ended = time.perf_counter()
        over.set()
    during = [began, *(stamp for stamp in stamps if began <= stamp <= ended), ended]
    return max(after - before for before, after in itertools.pairwise(during))


async def measure_lateness(model: LoadedModel, seconds: float) -> list[float]:
    """How late a five-millisecond timer fires, in seconds, while sixteen rows decode and are read."""
    late: list[float] = []
    async with EngineFront.open(
        headroom=lambda: 1 << 34, limits=EngineLimits(max_concurrent=SATURATING_ROWS)
    ) as engine:
        await engine.attach_model(model)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for row in range(SATURATING_ROWS):
                    nursery.start_soon(_keep_busy, engine, model, row)
                await trio.sleep(0.3)
                until = trio.current_time() + seconds
                while trio.current_time() < until:
                    due = time.perf_counter() + LATENESS_TICK_SECONDS
                    await trio.sleep(LATENESS_TICK_SECONDS)
                    late.append(max(0.0, time.perf_counter() - due))
                scope.cancel()
    return late


async def _keep_busy(engine: EngineFront, model: LoadedModel, row: int) -> None:
    while True:
        request = GenerationRequest(model=model.model_id, prompt_tokens=_prompt(16, row), max_tokens=256)
        async with engine.submit(request) as generation:
            while generation.finished is None:
                await generation.receive_batch()


def summary(gaps: Sequence[float], late: Sequence[float]) -> dict[str, float]:
    """The figures in milliseconds."""
    return {
        "gap_worst_ms": round(max(gaps) * 1000, 1),
        "gap_median_ms": round(statistics.median(gaps) * 1000, 1),
        "lateness_p50_ms": round(percentile(late, 0.5) * 1000, 2),
        "lateness_p99_ms": round(percentile(late, 0.99) * 1000, 2),
    }


def _prompt(length: int, row: int) -> tuple[int, ...]:
    return tuple(10 + (row * 7 + place * 3) % 200 for place in range(length))
