"""How long a machine was connected within a period, whatever its sessions overlap. Pure; microseconds in, ms out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

OPEN_GRACE_US: Final = 90_000_000
"""A session without an end counts this long after it was last heard of."""


class Interval(NamedTuple):
    """One session; `ended` is None while it is open."""

    connected: int
    last_seen: int
    ended: int | None


def uptime_ms(sessions: Iterable[Interval], start: int, end: int) -> int:
    """Give the length of the union of sessions, clipped to the half-open period, in whole milliseconds."""
    total, reached = 0, start
    for opened, closed in sorted(_clipped(one, start, end) for one in sessions):
        begun = max(opened, reached)
        if closed > begun:
            total += closed - begun
            reached = closed
    return total // 1000


def _clipped(one: Interval, start: int, end: int) -> tuple[int, int]:
    closed = one.last_seen + OPEN_GRACE_US if one.ended is None else one.ended
    return max(one.connected, start), min(closed, end)
