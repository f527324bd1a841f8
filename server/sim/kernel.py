"""The clock and the calendar of a simulation: a heap of (time, sequence), and nothing else decides what comes next.

Invariant: entries of equal time run in the order in which they were planned, so a run depends on its input alone.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from server.sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_STEPS: Final = 200_000_000
"""A run with more steps than this has no end."""


class Timer:
    """One planned call; cancelling it is free and may happen at any time."""

    __slots__ = ("_args", "_call")

    def __init__(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._call: Callable[..., object] | None = call
        self._args = args

    def cancel(self) -> None:
        """Forget the call; harmless when it has run already."""
        self._call = None
        self._args = ()

    def fire(self) -> bool:
        """Make the call unless it was cancelled; False when it was."""
        call, args = self._call, self._args
        if call is None:
            return False
        self.cancel()
        call(*args)
        return True


class Kernel:
    """Virtual time in seconds; `now` moves only from one planned call to the next."""

    __slots__ = ("_heap", "_max_steps", "_sequence", "now", "steps")

    def __init__(self, *, max_steps: int = MAX_STEPS) -> None:
        self.now = 0.0
        self.steps = 0
        self._sequence = 0
        self._max_steps = max_steps
        self._heap: list[tuple[float, int, Timer]] = []

    def clock(self) -> float:
        """The present time, for code that wants a clock."""
        return self.now

    def at(self, when: float, call: Callable[..., object], *args: Any) -> Timer:
        """Plan a call; a time that has passed means now, after everything that is planned for now already."""
        timer = Timer(call, args)
        self._sequence += 1
        heappush(self._heap, (max(when, self.now), self._sequence, timer))
        return timer

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> Timer:
        """Plan a call `seconds` from now."""
        return self.at(self.now + seconds, call, *args)

    def run(self, until: float) -> None:
        """Make every call that is planned up to `until`, those planned meanwhile included; then it is `until`."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, timer = heappop(heap)
            self.now = when
            if timer.fire():
                self.steps += 1
                if self.steps > self._max_steps:
                    raise SimulationError(
                        f"The simulation made more than {self._max_steps} steps; shorten the trace or the duration."
                    )
        self.now = max(self.now, until)
