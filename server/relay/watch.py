"""Runs the clocks of a committed attempt: silence, a missing last word, the consumer's grace, a head nobody sends.

Chunks pass without waking the watching task; it looks at the times when one of them may have run out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from protocol.failure import AttemptFailure, chunk_gap_timeout
from server.relay.attempt_state import Event, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.relay.attempt import Attempt
    from server.relay.clocks import RelayTimes
    from server.relay.dispatch import Wakeup
    from server.relay.outlet import Outlet

_NEVER = float("inf")


def completion_missing() -> AttemptFailure:
    """The provider ended its text and never sent a valid completion message: there is no usage to charge."""
    return AttemptFailure(
        status=502,
        code="internal_failure",
        reason="completion_missing",
        cause=None,
        health="fault",
        text="The provider did not complete its answer.",
    )


async def watch_stream(
    attempt: Attempt, outlet: Outlet, times: RelayTimes, woken: Wakeup, *, consumer_left: Callable[[], None]
) -> None:
    """Return when the attempt is over or parked.

    Cuts it after a silence between two chunks, or when its last word is missing; ends it when chunks stay spilled for
    a whole grace window, and calls `consumer_left` when nobody begins to write the answer.
    """
    head_until = trio.current_time() + times.head
    window = _GraceWindow(outlet, times.overflow_grace)
    while attempt.phase is Phase.COMMITTED:
        if attempt.spilled:
            attempt.spilled = False
            await window.begin()
        head_limit = _NEVER if outlet.opened else head_until
        with trio.move_on_at(min(_silent_until(attempt, times), head_limit, window.until)):
            await woken.wait()
        now = trio.current_time()
        if now >= window.until and window.failed(now):
            attempt.apply(Event.OVERFLOW)
        if not outlet.opened and now >= head_until:
            consumer_left()
        await _cut_if_silent(attempt, times)


async def watch_answer(attempt: Attempt, times: RelayTimes, woken: Wakeup) -> None:
    """Return when the attempt is over or parked; an answer in one piece has one limit from commit to end."""
    until = attempt.now() + times.chunk_gap
    while attempt.phase is Phase.COMMITTED:
        with trio.move_on_at(min(until, _silent_until(attempt, times))):
            await woken.wait()
        if trio.current_time() >= until:
            attempt.cut(chunk_gap_timeout())
        await _cut_if_silent(attempt, times)


def _silent_until(attempt: Attempt, times: RelayTimes) -> float:
    return attempt.last_chunk_at + (times.completion if attempt.ending else times.chunk_gap)


async def _cut_if_silent(attempt: Attempt, times: RelayTimes) -> None:
    """Give a silent provider up; what arrived while the process stood still is heard first."""
    if trio.current_time() < _silent_until(attempt, times):
        return
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
    if trio.current_time() >= _silent_until(attempt, times):
        attempt.cut(completion_missing() if attempt.ending else chunk_gap_timeout())


class _GraceWindow:
    """The time in which a consumer must take what spilled; every new spill has its own."""

    def __init__(self, outlet: Outlet, seconds: float) -> None:
        self._outlet = outlet
        self._seconds = seconds
        self._spill = 0
        self.until = _NEVER

    async def begin(self) -> None:
        """Start the window unless it runs, the consumer has no head yet, or takes everything when it has its turn."""
        outlet = self._outlet
        if self.until < _NEVER or not outlet.opened:
            return
        # The reader may have spilled hundreds of chunks before the consumer's task could run even once.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        outlet.turn_over()
        if outlet.spilling:
            self._restart(trio.current_time())

    def failed(self, now: float) -> bool:
        """At the end of the window: True when the same spill is still there."""
        outlet = self._outlet
        if not outlet.spilling:
            self.until = _NEVER
            return False
        if outlet.spills == self._spill:
            return True
        outlet.turn_over()
        self._restart(now)
        return False

    def _restart(self, now: float) -> None:
        self._spill = self._outlet.spills
        self.until = now + self._seconds
