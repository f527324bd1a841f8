"""How long a running answer stands still while a 2,048-token prompt joins, how late the event loop runs meanwhile, and
how soon a whole daemon answers challenges beside sixteen answers.

Demo model, engine thread and event loop in this process, whose interpreter is set up as the daemon's is; the daemon's
coordinator runs in it too. The lateness of an event loop with nothing to do, measured before and after, says what the
machine itself adds. By itself: `python -m bench.engine_latency [--quick]`.
"""

import gc
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import trio

from provider.daemon.interpreter import SWITCH_INTERVAL_SECONDS, settle_heap
from provider.engine import Delta, EngineFront, EngineLimits, Finished, GenerationRequest, LoadedModel
from provider.models.load import load_model
from tests.testbed.challenged_provider import challenge_seconds
from tests.testbed.statistics import percentile

LONG_PROMPT_TOKENS = 2048
WARM_UP_TOKENS = 16
LATENESS_TICK_SECONDS = 0.005
SATURATING_ROWS = 16
ROUNDS, QUICK_ROUNDS = 9, 2
LATENESS_SECONDS, QUICK_LATENESS_SECONDS = 10.0, 2.0
CHALLENGES, QUICK_CHALLENGES = 40, 5

LATENCY_KEYS = (
    ("standstill while a 2,048-token prompt joins", "gap_worst_ms", "gap_median_ms", "≤ 250"),
    ("lateness of the event loop, 16 rows", "lateness_p99_ms", "lateness_p50_ms", "≤ 10"),
    ("lateness of an event loop with nothing to do", "idle_lateness_p99_ms", "idle_lateness_p50_ms", ""),
    ("answer to a challenge, 16 rows", "challenge_worst_ms", "challenge_median_ms", "< 250"),
)
"""What is measured: its name, the keys of its high and of its middle figure, in milliseconds, and the target."""


async def measure_latency(model: LoadedModel, directory: Path, *, quick: bool = False) -> dict[str, float]:
    """Measure all figures of `LATENCY_KEYS`, with the heap that is there taken out of garbage collection.

    `directory` is where the model lies.
    """
    seconds = QUICK_LATENESS_SECONDS if quick else LATENESS_SECONDS
    settle_heap()
    try:
        gaps = await measure_gaps(model, QUICK_ROUNDS if quick else ROUNDS)
        idle = await measure_lateness(None, seconds / 2)
        late = await measure_lateness(model, seconds)
        idle += await measure_lateness(None, seconds / 2)
        answers = await measure_challenges(directory, QUICK_CHALLENGES if quick else CHALLENGES)
    finally:
        gc.unfreeze()
    return {
        "gap_worst_ms": round(max(gaps) * 1000, 1),
        "gap_median_ms": round(statistics.median(gaps) * 1000, 1),
        **_percentiles("lateness", late),
        **_percentiles("idle_lateness", idle),
        "challenge_worst_ms": round(max(answers) * 1000, 1),
        "challenge_median_ms": round(statistics.median(answers) * 1000, 1),
    }


def _percentiles(name: str, late: Sequence[float]) -> dict[str, float]:
    return {f"{name}_p{part}_ms": round(percentile(late, part / 100) * 1000, 2) for part in (50, 99)}


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


async def measure_lateness(model: LoadedModel | None, seconds: float) -> list[float]:
    """How late a five-millisecond timer fires, in seconds, while sixteen rows decode and are read; None: none does."""
    late: list[float] = []
    async with AsyncExitStack() as stack:
        if model is not None:
            limits = EngineLimits(max_concurrent=SATURATING_ROWS)
            engine = await stack.enter_async_context(EngineFront.open(headroom=lambda: 1 << 34, limits=limits))
            await engine.attach_model(model)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            for row in range(SATURATING_ROWS):
                nursery.start_soon(_keep_busy, engine, model, row)
            await trio.sleep(0.3)
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            due = time.perf_counter() + LATENESS_TICK_SECONDS
            await trio.sleep(LATENESS_TICK_SECONDS)
            late.append(max(0.0, time.perf_counter() - due))
    return late


async def measure_challenges(directory: Path, challenges: int) -> list[float]:
    """Seconds to the answer of each challenge while sixteen answers are generated, sealed and sent."""
    with tempfile.TemporaryDirectory() as home:
        return await challenge_seconds(directory, Path(home), rows=SATURATING_ROWS, challenges=challenges)


async def _keep_busy(engine: EngineFront, model: LoadedModel, row: int) -> None:
    while True:
        request = GenerationRequest(model=model.model_id, prompt_tokens=_prompt(16, row), max_tokens=256)
        async with engine.submit(request) as generation:
            while generation.finished is None:
                await generation.receive_batch()


def _prompt(length: int, row: int) -> tuple[int, ...]:
    return tuple(10 + (row * 7 + place * 3) % 200 for place in range(length))


def main() -> None:
    """Print the figures for the demo model as JSON."""
    directory = Path(__file__).parents[1] / "provider" / "demo" / "model"
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    demo = replace(load_model("demo", directory), eos_ids=frozenset())
    quick = "--quick" in sys.argv

    async def measure() -> dict[str, float]:
        return await measure_latency(demo, directory, quick=quick)

    print(json.dumps(trio.run(measure), indent=2))


if __name__ == "__main__":
    main()
