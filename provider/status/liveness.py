"""Whether the daemon that wrote a state still runs and still writes; pure.

Source: provider rules, the line of `status` about the daemon.
"""

import enum
from typing import Final

from provider.status.record import DaemonState

FRESH_PERIODS: Final = 4
STUCK_PERIODS: Final = 8
STUCK_SECONDS: Final = 90.0


class Life(enum.StrEnum):
    """What can be said of the daemon."""

    NOT_RUNNING = "not running"
    RUNNING = "running"
    OLD = "running, snapshot is old"
    STUCK = "running but not updating, may be stuck"

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        return self is not Life.NOT_RUNNING

    @property
    def is_fresh(self) -> bool:
        """Whether the live figures are those of now."""
        return self is Life.RUNNING


def judge(state: DaemonState | None, *, now: float, is_alive: bool) -> Life:
    """Judge a state by its age; `is_alive` says whether its process still runs."""
    if state is None or not is_alive or state.stopped_at is not None:
        return Life.NOT_RUNNING
    age = now - state.written_at
    if age <= FRESH_PERIODS * state.refresh_seconds:
        return Life.RUNNING
    if age <= max(STUCK_PERIODS * state.refresh_seconds, STUCK_SECONDS):
        return Life.OLD
    return Life.STUCK
