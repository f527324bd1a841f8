"""What an earlier run left behind, read before this one writes anything."""

from pathlib import Path
from typing import Final

from provider.status.process import is_running
from provider.status.state_file import read_state

REMEMBER_SECONDS: Final = 24 * 3600.0


def last_crash(state_file: Path, *, now: float) -> float | None:
    """Give the moment (Unix seconds) at which an earlier run ended without a stop, within the last day."""
    state = read_state(state_file)
    if state is None:
        return None
    ended_badly = state.stopped_at is None and not is_running(state.pid, state.process_start)
    moment = state.written_at if ended_badly else state.previous_crash_at
    return moment if moment is not None and now - moment < REMEMBER_SECONDS else None
