"""What reports may be asked, and how mistakes are answered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.api.errors import ApiError
from server.rewards.report_query import period, row_before, row_limit, short_text, span, table_format
from server.rewards.report_rows import Span

NOW = 1_784_109_600_000_000
HOUR = 3_600_000_000


@pytest.mark.parametrize(("text", "limit"), [(None, 50), ("", 50), ("1", 1), ("1000", 1000), ("99999", 1000)])
def test_limits(text: str | None, limit: int) -> None:
    assert row_limit({} if text is None else {"limit": text}, 50) == limit


def test_periods() -> None:
    assert [period({"window": one}) for one in ("24h", "1d", "7d", "30d", "all", "lifetime")] == [
        "24h",
        "24h",
        "7d",
        "30d",
        "all",
        "all",
    ]
    assert span({}, NOW) == Span(since=0, until=NOW + 1)
    assert span({"window": "1d"}, NOW) == Span(since=NOW - 24 * HOUR, until=NOW + 1)
    moments = {"since": "2026-07-15T00:00:00Z", "until": "2026-07-15T01:00:00+00:00"}
    assert span(moments, NOW) == Span(since=NOW - 10 * HOUR, until=NOW - 9 * HOUR)
    assert span({"since": "2026-07-15T00:00:00Z"}, NOW) == Span(since=NOW - 10 * HOUR, until=NOW + 1)


def test_forms_and_texts() -> None:
    assert [table_format({"format": one}) for one in ("csv", "CSV", "jsonl", "ndjson")] == [
        "csv",
        "csv",
        "jsonl",
        "jsonl",
    ]
    assert short_text({"key_id": " key_1 "}, "key_id") == "key_1"
    assert short_text({"key_id": " "}, "key_id") is None
    assert row_before({"before": "17"}) == 17
    assert row_before({}) is None


@pytest.mark.parametrize(
    ("ask", "param"),
    [
        (lambda: row_limit({"limit": "0"}, 50), "limit"),
        (lambda: row_limit({"limit": "-1"}, 50), "limit"),
        (lambda: row_limit({"limit": "٣"}, 50), "limit"),
        (lambda: row_limit({"limit": "9" * 40}, 50), "limit"),
        (lambda: row_before({"before": "x"}), "before"),
        (lambda: row_before({"before": "9" * 40}), "before"),
        (lambda: period({"window": "1h"}), "window"),
        (lambda: table_format({"format": "xls"}), "format"),
        (lambda: short_text({"key_id": "k" * 257}, "key_id"), "key_id"),
        (lambda: short_text({"key_id": "k\x00"}, "key_id"), "key_id"),
        (lambda: span({"since": "yesterday"}, NOW), "since"),
        (lambda: span({"until": "0001-01-01T00:00:00+99:00"}, NOW), "until"),
        (lambda: span({"since": "2026-07-15T00:00:00Z", "until": "2026-07-15T00:00:00Z"}, NOW), "since"),
        (lambda: span({"since": "2026-07-15T00:00:00Z", "window": "7d"}, NOW), "window"),
    ],
)
def test_mistakes_name_the_parameter(ask: Callable[[], object], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        ask()
    assert (caught.value.status, caught.value.param) == (400, param)
