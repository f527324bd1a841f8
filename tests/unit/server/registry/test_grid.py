"""Rounding to speed classes: never more than 5 % and half a unit off, and monotone."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from server.registry.grid import STEP, on_grid, per_token_us, tokens_on_grid

HALF_A_STEP = STEP**0.5 - 1
"""4.9 %: to the nearest power; what is rounded to whole numbers then moves by half of one more."""


@given(st.floats(20, 1_000_000))
@example(20.125)
def test_a_rate_is_at_most_five_percent_off(microseconds: float) -> None:
    assert abs(on_grid(microseconds) - microseconds) <= HALF_A_STEP * microseconds + 0.5


@given(st.integers(0, 5_000_000))
def test_a_number_of_tokens_is_at_most_five_percent_off(tokens: int) -> None:
    assert abs(tokens_on_grid(tokens) - tokens) <= HALF_A_STEP * tokens + 0.5


@given(st.floats(1, 500), st.floats(1, 500))
def test_faster_machines_are_never_dearer(one: float, other: float) -> None:
    slow, fast = sorted((one, other))
    assert per_token_us(fast) <= per_token_us(slow)


def test_beyond_the_ends_the_end_counts() -> None:
    assert on_grid(0.0) == on_grid(1.0) == 1
    assert tokens_on_grid(10**12) == tokens_on_grid(10**11) == on_grid(1e12)
    assert [tokens_on_grid(tokens) for tokens in (0, 1, 15)] == [0, 1, 15]
