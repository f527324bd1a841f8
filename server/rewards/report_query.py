"""What may be asked of reports in a query: a period, a number of rows, a form of table. Pure; mistakes are 400."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from protocol.api.errors import invalid_request
from protocol.rfc3339 import parse_rfc3339
from server.billing.leaderboard import PERIODS, period_start
from server.rewards.report_rows import Span

if TYPE_CHECKING:
    from server.billing.leaderboard import Period
    from server.rewards.tables import TableFormat

MAX_ROWS: Final = 1000
MAX_TEXT: Final = 256
_MICROSECONDS: Final = 1_000_000
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_ALIASES: Final[Mapping[str, str]] = {"1d": "24h", "lifetime": "all"}


def row_limit(arguments: Mapping[str, str], default: int) -> int:
    """Read `limit`: 1 to 1000; larger ones count as 1000."""
    text = arguments.get("limit", "")
    if not text:
        return default
    if _DIGITS.fullmatch(text) is None or int(text) == 0:
        raise invalid_request(f"limit must be a whole number from 1 to {MAX_ROWS}.", param="limit")
    return min(int(text), MAX_ROWS)


def row_before(arguments: Mapping[str, str]) -> int | None:
    """Read `before`: the `next_before` of the page before."""
    text = arguments.get("before", "")
    if not text:
        return None
    if _DIGITS.fullmatch(text) is None:
        raise invalid_request("before must be the next_before of an earlier answer.", param="before")
    return int(text)


def short_text(arguments: Mapping[str, str], name: str) -> str | None:
    """Read a text of at most 256 characters; None when it is absent or empty."""
    text = arguments.get(name, "").strip()
    if len(text) > MAX_TEXT or "\x00" in text:
        raise invalid_request(f"{name} is a text of at most {MAX_TEXT} characters.", param=name)
    return text or None


def table_format(arguments: Mapping[str, str], *, param: str = "format") -> TableFormat:
    """Read the form of a table, CSV by default."""
    text = arguments.get(param, "csv").lower()
    if text == "csv":
        return "csv"
    if text in ("jsonl", "ndjson"):
        return "jsonl"
    raise invalid_request("format must be csv or jsonl.", param=param)


def period(arguments: Mapping[str, str], default: Period = "all") -> Period:
    """Read `window`: 24h (or 1d), 7d, 30d, all (or lifetime)."""
    text = arguments.get("window", default)
    wanted = _ALIASES.get(text, text)
    for known in PERIODS:
        if known == wanted:
            return known
    raise invalid_request(f"window must be one of {', '.join(PERIODS)}.", param="window")


def span(arguments: Mapping[str, str], now: int) -> Span:
    """Read the period: `since` and `until` (RFC 3339, the second not included), or `window` up to now."""
    since, until = _moment(arguments, "since"), _moment(arguments, "until")
    if since is None and until is None:
        # Rows of this very microsecond belong to it.
        return Span(since=period_start(period(arguments), now), until=now + 1)
    if "window" in arguments:
        raise invalid_request("Give either window, or since and until.", param="window")
    found = Span(since=since or 0, until=now + 1 if until is None else until)
    if found.since >= found.until:
        raise invalid_request("since must be earlier than until.", param="since")
    return found


def _moment(arguments: Mapping[str, str], name: str) -> int | None:
    text = arguments.get(name, "")
    if not text:
        return None
    try:
        moment = round(parse_rfc3339(text) * _MICROSECONDS)
    except (ValueError, OverflowError):
        raise invalid_request(f"{name} must be a moment such as 2026-07-15T00:00:00Z.", param=name) from None
    return max(0, moment)
