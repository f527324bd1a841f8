"""The union of sessions within an epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rewards.uptime import Interval, uptime_ms

SECOND = 1_000_000
START = 1_000_000 * SECOND
END = START + 300 * SECOND


def at(start: int, end: int) -> Interval:
    return Interval(START + start * SECOND, START + end * SECOND, START + end * SECOND)


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ([], 0),
        ([at(0, 200), at(150, 300)], 300_000),
        ([at(-100, 400)], 300_000),
        ([at(0, 100), at(200, 300)], 200_000),
        ([at(0, 300), at(10, 20)], 300_000),
        ([at(-50, 0), at(300, 400)], 0),
        ([at(-500, -400)], 0),
    ],
    ids=["none", "blue and green overlap", "longer", "a gap", "one inside", "only touching", "before"],
)
def test_sessions_count_once(sessions: list[Interval], expected: int) -> None:
    assert uptime_ms(sessions, START, END) == expected
    assert uptime_ms(sessions[::-1], START, END) == expected


@pytest.mark.parametrize(("last_seen", "expected"), [(0, 90_000), (150, 240_000), (250, 300_000), (299, 300_000)])
def test_an_open_session_counts_90_seconds_after_it_was_heard_of(last_seen: int, expected: int) -> None:
    assert uptime_ms([Interval(START, START + last_seen * SECOND, None)], START, END) == expected


@given(
    st.lists(
        st.tuples(st.integers(-400, 700), st.integers(0, 700)).map(lambda pair: at(pair[0], sum(pair))), max_size=12
    )
)
def test_uptime_is_the_number_of_covered_seconds(sessions: list[Interval]) -> None:
    covered = {
        second for one in sessions for second in range(max(one.connected, START), min(one.last_seen, END), SECOND)
    }
    assert uptime_ms(sessions, START, END) == len(covered) * 1000
