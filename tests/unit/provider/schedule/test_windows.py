"""Weekly windows: the documented table, and a property against a minute-by-minute oracle."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.schedule.windows import is_active, next_change, parse_schedule, show_schedule

# 2026-11-16 is a Monday.
MONDAY = datetime(2026, 11, 16)


def at(day, clock):
    hour, minute = clock.split(":")
    return MONDAY + timedelta(days=day, hours=int(hour), minutes=int(minute))


@pytest.mark.parametrize(
    ("text", "day", "clock", "active"),
    [
        ("mon-fri 22:00-08:00", 4, "23:00", True),
        ("mon-fri 22:00-08:00", 5, "07:59", True),
        ("mon-fri 22:00-08:00", 5, "08:00", False),
        ("mon-fri 22:00-08:00", 0, "07:00", False),
        ("sat,sun 00:00-23:59", 6, "23:59", False),
        ("sat,sun 00:00-23:59", 6, "23:58", True),
        ("mon 09:00-17:00", 0, "17:00", False),
        ("mon 09:00-17:00", 0, "09:00", True),
        ("", 3, "03:00", True),
    ],
)
def test_the_documented_moments(text, day, clock, active):
    assert is_active(parse_schedule(text), at(day, clock)) is active


def test_a_weekly_window_that_just_closed_opens_in_six_days_and_sixteen_hours():
    schedule = parse_schedule("mon 09:00-17:00")
    now = at(0, "17:00")
    assert next_change(schedule, now) - now == timedelta(days=6, hours=16)


def test_touching_windows_count_as_one():
    schedule = parse_schedule("mon 09:00-12:00; mon 12:00-17:00; mon 16:00-18:00")
    assert next_change(schedule, at(0, "10:00")) == at(0, "18:00")


def test_a_schedule_that_covers_everything_never_changes():
    assert next_change(parse_schedule("daily 00:00-12:00; daily 12:00-00:00"), MONDAY) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mon", "is not understood"),
        ("mon 09:00", "20:00-07:00"),
        ("mon 09:00-09:00", "starts when it ends"),
        ("moon 09:00-10:00", "There is no day 'moon'"),
        ("mon 25:00-10:00", "'25:00' is no time of day"),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(ValueError, match=r".+") as refused:
        parse_schedule(text)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "text", ["mon-fri 22:00-08:00", "sat,sun 09:00-18:00", "daily 20:00-07:00; mon,wed,fri 12:00-13:00"]
)
def test_what_is_shown_is_read_again(text):
    assert show_schedule(parse_schedule(text)) == text
    aliases = parse_schedule("weekdays 20:00-07:00; Weekend 09:00-18:00; monday 8:00-9:00")
    assert show_schedule(aliases) == "mon-fri 20:00-07:00; sat,sun 09:00-18:00; mon 08:00-09:00"


clocks = st.integers(0, 47).map(lambda half: f"{half // 2:02d}:{half % 2 * 30:02d}")
windows = st.tuples(st.sampled_from(["mon", "tue-thu", "weekend", "daily", "fri-mon"]), clocks, clocks).filter(
    lambda found: found[1] != found[2]
)


@given(st.lists(windows, min_size=1, max_size=3), st.integers(0, 7 * 48 - 1))
def test_the_next_change_is_the_first_moment_that_differs(entries, halves):
    schedule = parse_schedule(";".join(f"{days} {start}-{end}" for days, start, end in entries))
    now = MONDAY + timedelta(minutes=30 * halves)
    present = is_active(schedule, now)
    expected = next(
        (
            now + timedelta(minutes=30 * step)
            for step in range(1, 8 * 48)
            if is_active(schedule, now + timedelta(minutes=30 * step)) != present
        ),
        None,
    )
    assert next_change(schedule, now) == expected
