"""Runs the clocks of a committed attempt: silence, the consumer's grace, a head that nobody sends.

Chunks pass without waking the watching task; it looks at the times when one of them may have run out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from protocol.failure import chunk_gap_timeout
from server.relay.attempt_state import Event, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.relay.attempt import Attempt
    from server.relay.clocks import RelayTimes
    from server.relay.dispatch import Wakeup
    from server.relay.outlet import Outlet


async def watch_stream(
    attempt: Attempt, outlet: Outlet, times: RelayTimes, woken: Wakeup, *, consumer_left: Callable[[], None]
) -> None:
    """Return when the attempt is over or parked.

    Cuts it after a silence between two chunks, ends it when the queue is still spilling after its one grace, and calls
    `consumer_left` when nobody begins to write the answer.
    """
    head_until = trio.current_time() + times.head
    grace_until: float | None = None
    grace_over = False
    while attempt.phase is Phase.COMMITTED:
        deadlines = [attempt.last_chunk_at + times.chunk_gap]
        if not outlet.opened:
            deadlines.append(head_until)
        if attempt.spilled and not grace_over:
            grace_until = grace_until if grace_until is not None else trio.current_time() + times.overflow_grace
            deadlines.append(grace_until)
        with trio.move_on_at(min(deadlines)):
            await woken.wait()
        now = trio.current_time()
        if grace_until is not None and not grace_over and now >= grace_until:
            grace_over = True
            if outlet.spilling:
                attempt.apply(Event.OVERFLOW)
        if not outlet.opened and now >= head_until:
            consumer_left()
        if now >= attempt.last_chunk_at + times.chunk_gap:
            attempt.cut(chunk_gap_timeout())


async def watch_answer(attempt: Attempt, times: RelayTimes, woken: Wakeup) -> None:
    """Return when the attempt is over or parked; an answer in one piece has one limit from commit to end."""
    until = trio.current_time() + times.chunk_gap
    while attempt.phase is Phase.COMMITTED:
        with trio.move_on_at(until):
            await woken.wait()
        if trio.current_time() >= until:
            attempt.cut(chunk_gap_timeout())
