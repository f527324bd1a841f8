"""Reconnect delays."""

import pytest

from provider.link.backoff import Backoff

RANGES = [(0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (15, 30), (15, 30)]


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_delays_double_up_to_the_cap(edge):
    backoff = Backoff(lambda: edge)
    for low, high in RANGES:
        assert backoff.next_delay(0.0) == (high if edge else low)


def test_sessions_that_never_registered_keep_growing():
    backoff = Backoff(lambda: 1.0)
    assert [backoff.next_delay(None) for _ in range(4)] == [1, 2, 4, 8]


def test_short_sessions_keep_growing():
    backoff = Backoff(lambda: 1.0)
    assert [backoff.next_delay(29.9) for _ in range(3)] == [1, 2, 4]


@pytest.mark.parametrize(("edge", "expected"), [(0.0, 0.5), (1.0, 5.0)])
def test_a_good_session_starts_over_and_spreads_once(edge, expected):
    backoff = Backoff(lambda: edge)
    for _ in range(6):
        backoff.next_delay(0.0)
    assert backoff.next_delay(31.0) == expected
    assert backoff.next_delay(None) == (2.0 if edge else 1.0)
