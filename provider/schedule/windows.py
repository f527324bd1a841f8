"""Weekly windows in local wall-clock time; pure, `now` is passed in as a naive local datetime.

A window whose end is not after its start runs over midnight and belongs to the day of its start. Windows that overlap
or touch count as one. Source: provider rules, schedule.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ALIASES: Final = {
    "daily": frozenset(range(7)),
    "weekdays": frozenset(range(5)),
    "weekday": frozenset(range(5)),
    "weekend": frozenset((5, 6)),
    "weekends": frozenset((5, 6)),
}
_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_MINUTES_A_DAY: Final = 24 * 60
SEARCH_DAYS: Final = 8
"""A single weekly window whose time has passed today opens again in seven days."""

FORM: Final = "windows such as mon-fri 22:00-08:00; weekend 09:00-18:00"


@dataclass(frozen=True, slots=True)
class Window:
    """`days` are numbers, Monday is 0; `start` and `end` are minutes of the day and differ."""

    days: frozenset[int]
    start: int
    end: int

    def __str__(self) -> str:
        return f"{show_days(self.days)} {_show_clock(self.start)}-{_show_clock(self.end)}"


Schedule: TypeAlias = tuple[Window, ...]
"""No window at all means always."""


def parse_schedule(text: str) -> Schedule:
    """Read windows between semicolons; raises `ValueError` with a sentence that names the wrong part."""
    return tuple(parse_window(part) for part in text.split(";") if part.strip())


def parse_window(text: str) -> Window:
    """Read `DAYS START-END`; raises `ValueError` with a sentence."""
    words = text.split()
    if len(words) != 2:
        raise ValueError(f"The window {text.strip()!r} is not understood; write {FORM}.")
    start, dash, end = words[1].partition("-")
    if not dash:
        raise ValueError(f"The times {words[1]!r} are not understood; write for example 20:00-07:00.")
    return make_window([words[0]], start, end)


def make_window(days: Sequence[str], start: str, end: str) -> Window:
    """Make a window from its parts; raises `ValueError` with a sentence."""
    chosen = frozenset(day for entry in days for word in entry.split(",") if word for day in _days(word))
    if not chosen:
        raise ValueError("The window names no day; write for example mon-fri, weekend or daily.")
    first, last = _clock(start), _clock(end)
    if first == last:
        raise ValueError(f"The window {start}-{end} starts when it ends; leave it out, or use 00:00-23:59.")
    return Window(chosen, first, last)


def show_schedule(schedule: Schedule) -> str:
    """Write windows as `parse_schedule` reads them; "" for always."""
    return "; ".join(str(window) for window in schedule)


def is_active(schedule: Schedule, now: datetime) -> bool:
    """Whether this moment lies inside a window."""
    if not schedule:
        return True
    today, minute = now.weekday(), now.hour * 60 + now.minute
    return any(_covers(window, today, minute) for window in schedule)


def next_change(schedule: Schedule, now: datetime) -> datetime | None:
    """Give the next moment at which `is_active` turns; None when it never does."""
    if not schedule:
        return None
    present = is_active(schedule, now)
    edges = sorted(moment for moment in _edges(schedule, now) if moment > now)
    return next((moment for moment in edges if is_active(schedule, moment) != present), None)


def show_days(days: frozenset[int]) -> str:
    """Name days shortly: an alias, a range, or a list."""
    if len(days) == 7:
        return "daily"
    ordered = sorted(days)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{DAYS[ordered[0]]}-{DAYS[ordered[-1]]}"
    return ",".join(DAYS[day] for day in ordered)


def _covers(window: Window, today: int, minute: int) -> bool:
    if window.start < window.end:
        return today in window.days and window.start <= minute < window.end
    yesterday = (today - 1) % 7
    return (today in window.days and minute >= window.start) or (yesterday in window.days and minute < window.end)


def _edges(schedule: Schedule, now: datetime) -> Iterable[datetime]:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for offset in range(-1, SEARCH_DAYS + 1):
        day = midnight + timedelta(days=offset)
        for window in schedule:
            if day.weekday() in window.days:
                length = (window.end - window.start) % _MINUTES_A_DAY
                opening = day + timedelta(minutes=window.start)
                yield opening
                yield opening + timedelta(minutes=length)


def _days(word: str) -> frozenset[int]:
    lower = word.strip().lower()
    if lower in _ALIASES:
        return _ALIASES[lower]
    first, dash, last = lower.partition("-")
    begin = _day(first)
    if not dash:
        return frozenset((begin,))
    length = (_day(last) - begin) % 7
    return frozenset((begin + step) % 7 for step in range(length + 1))


def _day(word: str) -> int:
    for names in (DAYS, _FULL):
        if word in names:
            return names.index(word)
    raise ValueError(f"There is no day {word!r}; write mon … sun, weekdays, weekend or daily.")


def _clock(text: str) -> int:
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time of day; write for example 07:30.")
    return int(found[1]) * 60 + int(found[2])


def _show_clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
