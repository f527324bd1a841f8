"""Timestamps of the wire: RFC 3339 text and Unix seconds."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_PATTERN: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(?:Z|([+-])(\d{2}):(\d{2}))", re.ASCII
)


def parse_rfc3339(text: str) -> float:
    """Give Unix seconds of a timestamp with 0 to 9 fraction digits and `Z` or an offset; raises `ValueError`."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError("The timestamp is not RFC 3339; send for example 2026-07-15T12:00:00Z.")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    offset = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0))
    if offset >= timedelta(days=1) or int(found[10] or 0) > 59:
        raise ValueError("The timestamp has an impossible offset; send UTC with Z.")
    zone = timezone(-offset if found[8] == "-" else offset)
    whole = datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp()
    return whole + int((found[7] or "0").ljust(9, "0")) / 1e9


def format_rfc3339(unix_seconds: float) -> str:
    """Write whole UTC seconds with `Z`."""
    return datetime.fromtimestamp(int(unix_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
