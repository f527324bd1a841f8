"""The token bucket's arithmetic: what is there, what comes back, and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.limits import Rate, TokenBucket


def test_a_bucket_starts_full_and_refills_up_to_its_burst() -> None:
    bucket = TokenBucket(Rate(2, 10), now=100.0)
    assert bucket.take(10, 100.0)
    assert not bucket.take(1, 100.0)
    assert bucket.level(101.5) == 3
    assert bucket.level(1000.0) == 10


def test_a_refused_amount_changes_nothing() -> None:
    bucket = TokenBucket(Rate(1, 5), now=0.0)
    assert bucket.take(3, 0.0)
    assert not bucket.take(3, 0.0)
    assert bucket.take(2, 0.0)


@pytest.mark.parametrize("amount", [0, -1, -1000])
def test_nothing_and_less_is_always_allowed(amount: int) -> None:
    bucket = TokenBucket(Rate(1, 1), now=0.0)
    bucket.debit(50, 0.0)
    assert bucket.take(amount, 0.0)
    assert bucket.level(0.0) == -49


def test_debit_goes_below_zero_and_credit_stops_at_the_burst() -> None:
    bucket = TokenBucket(Rate(1, 10), now=0.0)
    bucket.debit(25, 0.0)
    assert bucket.level(0.0) == -15
    assert bucket.remaining(0.0) == 0
    bucket.credit(100, 0.0)
    assert bucket.level(0.0) == 10


@pytest.mark.parametrize(
    ("rate", "burst", "amount", "expected"),
    [
        (0.2, 3, 1, 5),
        (20, 120, 1, 1),
        (0.3, 1, 1, 4),
        (0.001, 1, 1, 60),
        (0.02, 3, 1, 50),
    ],
)
def test_retry_after_is_rounded_up_and_clamped(rate: float, burst: int, amount: int, expected: int) -> None:
    bucket = TokenBucket(Rate(rate, burst), now=0.0)
    assert bucket.take(burst, 0.0)
    assert bucket.retry_after(amount, 0.0) == expected


def test_after_the_time_that_retry_after_names_the_request_passes() -> None:
    bucket = TokenBucket(Rate(0.3, 1), now=0.1)
    assert bucket.take(1, 0.1)
    assert not bucket.take(1, 0.1 + 3.3)
    assert bucket.take(1, 0.1 + bucket.retry_after(1, 0.1))


def test_seconds_to_full_is_what_the_reset_header_says() -> None:
    bucket = TokenBucket(Rate(20, 120), now=0.0)
    assert bucket.seconds_to_full(0.0) == 0
    bucket.take(1, 0.0)
    assert bucket.seconds_to_full(0.0) == 1
    bucket.take(119, 0.0)
    assert bucket.seconds_to_full(0.0) == 6


def test_a_clock_that_stands_still_or_goes_back_takes_nothing_away() -> None:
    bucket = TokenBucket(Rate(1, 10), now=100.0)
    bucket.take(5, 100.0)
    assert bucket.level(50.0) == 5
    bucket.take(1, 50.0)
    assert bucket.level(100.0) == 4


def test_another_rate_cuts_the_level_at_its_burst() -> None:
    bucket = TokenBucket(Rate(1, 100), now=0.0)
    bucket.change_rate(Rate(1, 10), 0.0)
    assert bucket.level(0.0) == 10


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "debit", "credit"]), st.integers(0, 200), st.floats(0, 50)), max_size=60
    )
)
def test_the_level_never_passes_the_burst_and_only_debits_go_below_zero(steps: list[tuple[str, int, float]]) -> None:
    bucket = TokenBucket(Rate(3.7, 100), now=0.0)
    now = 0.0
    debited = False
    for step, amount, pause in steps:
        now += pause
        debited = debited or step == "debit"
        getattr(bucket, step)(amount, now)
        level = bucket.level(now)
        assert level <= 100
        assert debited or level >= -1e-6


@given(st.floats(0.01, 100), st.integers(1, 500), st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_no_more_passes_than_burst_plus_rate_times_time(rate: float, burst: int, pauses: list[float]) -> None:
    bucket = TokenBucket(Rate(rate, burst), now=0.0)
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        passed += bucket.take(1, now)
    assert passed <= burst + rate * now + 1e-3
