"""Timestamps."""

import pytest

from protocol.rfc3339 import format_rfc3339, parse_rfc3339

NOON = 1_784_116_800.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-07-15T12:00:00Z", NOON),
        ("2026-07-15T12:00:00.5Z", NOON + 0.5),
        ("2026-07-15T12:00:00.123456789Z", NOON + 0.123456789),
        ("2026-07-15T14:30:00+02:30", NOON),
        ("2026-07-15T07:00:00-05:00", NOON),
        ("1970-01-01T00:00:00Z", 0.0),
    ],
)
def test_moment_is_read(text: str, seconds: float) -> None:
    assert parse_rfc3339(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-07-15",
        "2026-07-15 12:00:00Z",
        "2026-07-15T12:00:00",
        "2026-07-15T12:00:00.Z",
        "2026-07-15T12:00:00.1234567890Z",
        "2026-13-15T12:00:00Z",
        "2026-07-15T25:00:00Z",
        "2026-07-15T12:00:60Z",
        "2026-07-15T12:00:00+24:00",
        "2026-07-15T12:00:00+01:60",
        "٢٠٢٦-07-15T12:00:00Z",
        "2026-07-15T12:00:00Z\n",
        "0000-01-01T00:00:00Z",
    ],
)
def test_text_that_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_moment_is_written_in_whole_seconds() -> None:
    assert format_rfc3339(NOON + 0.9) == "2026-07-15T12:00:00Z"
    assert parse_rfc3339(format_rfc3339(NOON)) == NOON
