"""One task that runs the timers of all sessions: registration deadline, pings, staleness, challenges.

Invariant: every client has at most one valid entry in the heap, the one whose time equals its `due_at`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from typing import Protocol

import trio

_log = logging.getLogger("darkbloom.link")

_BATCH_TICKS = 64
PACE_SECONDS = 0.1
"""Timers that fall within this span of a run are served together: a wake-up costs more than the timers of many."""


class Ticking(Protocol):
    """A client of the housekeeper; `due_at` belongs to the housekeeper, infinity means nothing is planned."""

    due_at: float

    def tick(self, now: float) -> None:
        """Do what is due; synchronous, and plans its next tick with `Housekeeper.plan`."""

    def fail(self, error: Exception) -> None:
        """End, because `tick` raised."""


class Housekeeper:
    """A timer heap with lazy deletion; entries of clients that moved or left are skipped when their time comes.

    A tick is late by up to `PACE_SECONDS` when others were served just before it, and never early.
    """

    def __init__(self) -> None:
        """Start with nothing planned."""
        self._heap: list[tuple[float, int, Ticking]] = []
        self._order = itertools.count()
        self._sleep = trio.CancelScope()
        self._rested_at = float("-inf")

    def plan(self, client: Ticking, when: float) -> None:
        """Call `client.tick` at `when` (trio's clock) instead of the time that was planned before."""
        if when == client.due_at:
            return
        client.due_at = when
        heapq.heappush(self._heap, (when, next(self._order), client))
        if when < self._rested_at and when <= trio.current_time():
            self._rested_at = when  # asked for now, not planned: at once
        wake_at = max(when, self._rested_at)
        if wake_at < self._sleep.deadline:
            self._sleep.deadline = wake_at

    def forget(self, client: Ticking) -> None:
        """Plan nothing for this client any more."""
        client.due_at = float("inf")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run for ever; reports started at once."""
        task_status.started()
        while True:
            now = trio.current_time()
            if self._run_due(now):
                self._rested_at = now + PACE_SECONDS
            else:
                await trio.lowlevel.checkpoint()
                continue
            wake_at = max(self._heap[0][0], self._rested_at) if self._heap else float("inf")
            with trio.CancelScope(deadline=wake_at) as self._sleep:
                await trio.sleep_forever()

    def _run_due(self, now: float) -> bool:
        """Tick clients that are due, a bounded number of them; False when more may be due, for after a checkpoint."""
        for _ in range(_BATCH_TICKS):
            if not self._heap or self._heap[0][0] > now:
                return True
            when, _order, client = heapq.heappop(self._heap)
            if client.due_at != when:
                continue
            client.due_at = float("inf")
            try:
                client.tick(now)
            except Exception as error:
                _log.exception("a session's timer failed; the session is closed")
                client.fail(error)
        return False
