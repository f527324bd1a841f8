"""Amounts in words for people: durations, memory, counts."""

from typing import Final

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(seconds: float) -> str:
    """Two units at most: 45s, 2m05s, 2h11m, 3d04h."""
    whole = max(0, round(seconds))
    for index, (length, unit) in enumerate(_UNITS):
        if whole >= length:
            head, rest = divmod(whole, length)
            if index + 1 == len(_UNITS):
                return f"{head}{unit}"
            smaller, name = _UNITS[index + 1]
            return f"{head}{unit}{rest // smaller:02d}{name}"
    return "0s"


def gigabytes(amount: float) -> str:
    """One decimal below a hundred, more precise below one."""
    return f"{amount:.2f}" if 0 < amount < 1 else f"{amount:.1f}"


def plural(count: int, word: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def percent(part: float, whole: float) -> str:
    """Whole percent; `-` of nothing."""
    return f"{100 * part / whole:.0f} %" if whole > 0 else "-"
