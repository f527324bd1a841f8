"""How the length of a running engine step is judged."""

import enum

from provider.engine.limits import EngineLimits


class Health(enum.Enum):
    """Verdict on the engine thread."""

    GOOD = "good"
    WEDGE_SUSPECTED = "wedge_suspected"
    CRASHED = "crashed"
    FATAL = "fatal"


def judge(step_started_at: float | None, now: float, limits: EngineLimits) -> Health:
    """Judge the step that began at `step_started_at` (None: the thread waits for work); seconds, one clock."""
    if step_started_at is None:
        return Health.GOOD
    seconds = now - step_started_at
    if seconds >= limits.wedge_fatal_after:
        return Health.FATAL
    if seconds >= limits.wedge_crashed_after:
        return Health.CRASHED
    return Health.WEDGE_SUSPECTED if seconds >= limits.wedge_suspected_after else Health.GOOD
