"""What the macOS watchdog decides each minute; pure.

A job that launchd knows and that does not run is started again after five minutes, three times at most; one that ended
for a new version is started at the next look. A job that launchd does not know was stopped by the user. Notes from
before the last boot mean nothing.
"""

from typing import Final, Literal

import msgspec

WAIT_SECONDS: Final = 300.0
MAX_RESTARTS: Final = 3
FORGET_SECONDS: Final = 3600.0
"""A run of this length clears the count."""

Act = Literal["nothing", "restart", "give_up"]


class WatchdogNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered between two looks; Unix seconds."""

    boot: str = ""
    down_since: float | None = None
    restarts: int = 0
    last_restart: float = 0.0


def decide(
    notes: WatchdogNotes, *, is_loaded: bool, is_running: bool, awaits_start: bool = False, boot: str, now: float
) -> tuple[Act, WatchdogNotes]:
    """Give what to do, and the notes for the next look.

    `awaits_start`: a version was put in place and has not started yet. Its start counts like any other, because it may
    end before it can count itself.
    """
    if notes.boot != boot:
        notes = WatchdogNotes(boot=boot)
    if not is_loaded:
        return "nothing", WatchdogNotes(boot=boot)
    if is_running:
        restarts = 0 if now - notes.last_restart > FORGET_SECONDS else notes.restarts
        return "nothing", msgspec.structs.replace(notes, down_since=None, restarts=restarts)
    down_since = now if notes.down_since is None else notes.down_since
    if not awaits_start and now - down_since < WAIT_SECONDS:
        return "nothing", msgspec.structs.replace(notes, down_since=down_since)
    if notes.restarts >= MAX_RESTARTS:
        return "give_up", notes
    restarted = msgspec.structs.replace(notes, down_since=None, restarts=notes.restarts + 1, last_restart=now)
    return "restart", restarted
