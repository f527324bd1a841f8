"""The pure functions of a balance, with the worked examples of holds and captures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.billing.balance import EMPTY, Balance, apply, capture, credit, hold, release, withdraw
from server.store.errors import Invalid

MIXED = Balance(1_000_000, 800_000, 0, 0)
"""Example 3: 200,000 credits and 800,000 earnings."""


def _held(b: Balance, amount: int) -> tuple[Balance, int]:
    reserved = hold(b, amount)
    assert reserved is not None
    return reserved


def _captured(b: Balance, amount: int, earned: int, cost: int) -> Balance:
    done = capture(b, amount, earned, cost)
    assert done is not None
    return done[0]


def test_example_1_deposit_hold_capture() -> None:
    start = credit(EMPTY, 1_000_000, earned=False)
    assert start == (1_000_000, 0, 0, 0)
    reserved, earned = _held(start, 1838)
    assert (reserved, earned) == ((1_000_000, 0, 1838, 0), 0)
    assert capture(reserved, 1838, 0, 115) == ((999_885, 0, 0, 0), 0)
    assert credit(EMPTY, 115, earned=True) == (115, 115, 0, 0)


def test_example_3_a_hold_takes_credits_first() -> None:
    reserved, earned = _held(MIXED, 500_000)
    assert (reserved, earned) == ((1_000_000, 800_000, 500_000, 300_000), 300_000)
    assert (reserved.free, reserved.free_withdrawable, reserved.free_credits) == (500_000, 500_000, 0)


@pytest.mark.parametrize(
    ("cost", "after", "spent"),
    [
        (250_000, (750_000, 750_000, 0, 0), 50_000),
        (0, (1_000_000, 800_000, 0, 0), 0),
        (700_000, (300_000, 300_000, 0, 0), 500_000),
    ],
    ids=["3a less", "3b nothing", "3c more"],
)
def test_example_3_capture_decides_what_is_spent(cost: int, after: tuple[int, ...], spent: int) -> None:
    reserved, earned = _held(MIXED, 500_000)
    assert capture(reserved, 500_000, earned, cost) == (after, spent)


def test_example_3b_release_is_a_capture_of_nothing() -> None:
    reserved, earned = _held(MIXED, 500_000)
    assert release(reserved, 500_000, earned) == MIXED


def test_example_3d_and_3e_two_holds() -> None:
    one, earned_one = _held(MIXED, 500_000)
    two, earned_two = _held(one, 400_000)
    assert (two, earned_two) == ((1_000_000, 800_000, 900_000, 700_000), 400_000)
    assert hold(two, 200_000) is None
    second = _captured(two, 400_000, earned_two, 50_000)
    assert second == (950_000, 750_000, 500_000, 300_000)
    assert _captured(second, 500_000, earned_one, 100_000) == (850_000, 750_000, 0, 0)


def test_refusals() -> None:
    assert hold(Balance(100, 0, 50, 0), 51) is None
    assert hold(MIXED, -1) is None
    assert capture(Balance(100, 0, 60, 0), 10, 0, 51) is None
    assert capture(MIXED, 0, 0, -1) is None
    assert withdraw(Balance(1000, 600, 500, 300), 301) is None
    assert withdraw(Balance(1000, 600, 500, 300), 300) == (700, 300, 500, 300)
    assert withdraw(MIXED, -1) is None
    for amount in (0, -1, 2**53):
        with pytest.raises(Invalid):
            credit(EMPTY, amount, earned=True)
    with pytest.raises(Invalid):
        apply(Balance(2**53 - 1, 0, 0, 0), 1, 0)
    assert apply(Balance(100, 40, 70, 20), -31, 0) is None  # credits of a hold are not free
    assert apply(Balance(100, 40, 70, 20), -10, 0) == (90, 40, 70, 20)
    assert apply(Balance(100, 40, 70, 20), -21, -21) is None


@st.composite
def balances(draw: st.DrawFn) -> Balance:
    top = draw(st.sampled_from([100, 10**6, 2**53 - 1]))
    whole = draw(st.integers(0, top))
    earned = draw(st.integers(0, whole))
    held_earned = draw(st.integers(0, earned))
    return Balance(whole, earned, held_earned + draw(st.integers(0, whole - earned)), held_earned)


@given(balances(), st.integers(0, 2**53), st.integers(0, 2**54))
def test_every_step_keeps_the_invariant(b: Balance, amount: int, cost: int) -> None:
    assert b.is_sound()
    reserved = hold(b, amount)
    assert (reserved is None) == (amount > b.free)
    if reserved is None:
        return
    held, earned = reserved
    assert held.is_sound()
    assert 0 <= earned <= amount
    assert release(held, amount, earned) == b
    done = capture(held, amount, earned, cost)
    assert (done is None) == (cost > b.free)
    if done is not None:
        after, spent = done
        assert after.is_sound()
        assert after.held == b.held
        # Earnings are touched only when the credits are gone.
        assert spent == max(0, cost - b.free_credits)


@given(balances(), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_result_is_as_if_only_the_cost_had_been_charged(b: Balance, first: int, second: int, cost: int) -> None:
    """However large holds were, the same costs in the same order leave the same money."""
    one = hold(b, first)
    if one is None:
        return
    two = hold(one[0], second)
    if two is None or cost > first:
        return
    closed = release(_captured(two[0], first, one[1], cost), second, two[1])
    direct = capture(b, 0, 0, cost)
    assert direct is not None
    assert closed.balance == direct[0].balance
    assert closed.held == b.held
    assert closed.is_sound()
