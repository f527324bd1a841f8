"""Nearest rank, Jain and Gini on examples that can be worked out by hand."""

from __future__ import annotations

import pytest

from server.sim.statistics import gini, jain, percentile


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 15.0), (0.05, 15.0), (0.3, 20.0), (0.4, 20.0), (0.5, 35.0), (1.0, 50.0)]
)
def test_percentiles_are_nearest_rank(share: float, expected: float) -> None:
    assert percentile([15.0, 20.0, 35.0, 40.0, 50.0], share) == expected


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_jain_is_one_for_equals_and_one_over_n_for_a_single_owner() -> None:
    assert jain([2.0, 2.0, 2.0]) == 1.0
    assert jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert jain([]) is None
    assert jain([0.0]) is None


def test_gini_is_zero_for_equals_and_grows_with_inequality() -> None:
    assert gini([3.0, 3.0]) == 0.0
    assert gini([0.0, 0.0, 0.0, 1.0]) == 0.75
    assert gini([]) is None
