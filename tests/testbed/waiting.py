"""Waiting for a condition of the test's own process, with a limit instead of a hopeful sleep."""

from __future__ import annotations

from collections.abc import Callable

import trio

STEP_SECONDS = 0.005


async def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait until the condition is true and give the seconds that it took; raises `trio.TooSlowError`."""
    started = trio.current_time()
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(STEP_SECONDS)
    return trio.current_time() - started
