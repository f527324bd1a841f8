"""Background tasks that may crash without taking the coordinator with them.

Invariant: a supervised task ends its nursery only by cancellation, or by its crash when `strict` is set.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import trio

if TYPE_CHECKING:
    from server.observe.metrics import Metrics

_log = logging.getLogger("darkbloom.tasks")

BACKOFF_BASE_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 30.0
BACKOFF_JITTER: Final = 0.2
HEALTHY_SECONDS: Final = 60.0
CRASHES_TO_STAY_DOWN: Final = 5

# The peer went away: nothing crashed.
EXPECTED_ENDS: Final = (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionError)

Restart = Literal["never", "backoff"]
Observer = Callable[[str, BaseException], None]


class Supervisor:
    """Starts background tasks, counts and logs their crashes, restarts them, and knows which essential ones are down.

    With `strict` a crash goes on to the nursery, so that tests see it. Observers are told once for each crash.
    """

    def __init__(self, metrics: Metrics, *, strict: bool = False, jitter: Callable[[], float] | None = None) -> None:
        self._metrics = metrics
        self._strict = strict
        self._jitter = jitter or (lambda: random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER))
        self._down: list[str] = []
        self.observers: list[Observer] = []

    @property
    def health_reason(self) -> str | None:
        """`task:<name>` of an essential task that stays down, or None."""
        return f"task:{self._down[0]}" if self._down else None

    def start(
        self,
        nursery: trio.Nursery,
        name: str,
        task: Callable[..., Awaitable[None]],
        *arguments: Any,
        restart: Restart = "never",
        essential: bool = False,
    ) -> None:
        """Run `task(*arguments)` in `nursery`.

        With `restart="backoff"` a crashed task starts again after 0.1 s, doubling to 30 s, ± 20 %; a minute without a
        crash starts the row anew; after 5 crashes in 60 s it stays down.
        """

        async def supervised() -> None:
            await self._run(name, task, arguments, restart, essential=essential)

        nursery.start_soon(supervised, name=name)

    async def _run(
        self, name: str, task: Callable[..., Awaitable[None]], arguments: Any, restart: Restart, *, essential: bool
    ) -> None:
        crashes: deque[float] = deque(maxlen=CRASHES_TO_STAY_DOWN)
        row = 0
        self._metrics.task_up.set(name, to=1)
        while True:
            started = trio.current_time()
            try:
                await task(*arguments)
                return
            except (Exception, BaseExceptionGroup) as error:
                if self._note(name, error):
                    return
            now = trio.current_time()
            crashes.append(now)
            row = 0 if now - started >= HEALTHY_SECONDS else row
            too_often = len(crashes) == CRASHES_TO_STAY_DOWN and now - crashes[0] <= HEALTHY_SECONDS
            if restart == "never" or too_often:
                self._metrics.task_up.set(name, to=0)
                if essential:
                    self._down.append(name)
                return
            await trio.sleep(min(BACKOFF_BASE_SECONDS * 2**row, BACKOFF_MAX_SECONDS) * self._jitter())
            row += 1

    def _note(self, name: str, error: BaseException) -> bool:
        """Log and count a crash; True when it was none. Raises what must go on: cancellation, or all in strict mode."""
        crash: BaseException | None = error
        unstoppable: BaseException | None = None
        if isinstance(error, BaseExceptionGroup):
            crash = error.subgroup(_is_crash)
            unstoppable = error.subgroup(_is_unstoppable)
        elif isinstance(error, EXPECTED_ENDS):
            crash = None
        if crash is not None:
            self._report(name, crash)
            if self._strict:
                raise crash
        if unstoppable is not None:
            raise unstoppable
        return crash is None

    def _report(self, name: str, crash: BaseException) -> None:
        _log.error("a background task crashed", extra={"task": name}, exc_info=crash)
        self._metrics.task_crashes.inc(name)
        for observe in self.observers:
            try:
                observe(name, crash)
            except Exception:
                _log.exception("an observer of crashes crashed", extra={"task": name})


def _is_crash(leaf: BaseException) -> bool:
    return isinstance(leaf, Exception) and not isinstance(leaf, (BaseExceptionGroup, *EXPECTED_ENDS))


def _is_unstoppable(leaf: BaseException) -> bool:
    """Cancellation and interrupts, which are not ours to stop."""
    return not isinstance(leaf, (Exception, BaseExceptionGroup))
