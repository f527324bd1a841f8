"""Five-minute epochs and their budgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rewards.epochs import Epoch, epoch_budget

MONTHS = {28: 28 * 86_400, 30: 30 * 86_400, 31: 31 * 86_400}
POOL = 9_000_000_000


def test_an_epoch_is_half_open_and_named_after_its_start() -> None:
    epoch = Epoch.parse("2026-07-15T10:05Z")
    assert epoch.end - epoch.start == 300_000_000
    assert Epoch.containing(epoch.start) == epoch
    assert Epoch.containing(epoch.end - 1) == epoch
    assert Epoch.containing(epoch.end) == epoch.shift(1)
    assert epoch.shift(-1).id == "2026-07-15T10:00Z"


@pytest.mark.parametrize("text", ["2026-07", "2026-07-15T10:03Z", "2026-07-15T10:05", "", "2026-13-01T00:00Z"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Epoch.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds", "first", "following"),
    [
        ("2026-02-28T23:55Z", 28, "2026-02-01T00:00Z", "2026-03-01T00:00Z"),
        ("2028-02-29T12:00Z", 29, "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        ("2026-12-31T23:55Z", 31, "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
    ],
)
def test_the_month_of_an_epoch(text: str, seconds: int, first: str, following: str) -> None:
    epoch = Epoch.parse(text)
    assert epoch.month_seconds == seconds * 86_400
    assert (epoch.month_id, epoch.next_month_id) == (first, following)


@pytest.mark.parametrize(("days", "budget"), [(30, 1_041_667), (31, 1_008_065)])
def test_the_budget_of_an_epoch(days: int, budget: int) -> None:
    assert epoch_budget(POOL, MONTHS[days]) == budget


@given(moment=st.integers(0, 4_000_000_000_000_000))
def test_every_moment_has_one_epoch_and_ids_sort(moment: int) -> None:
    epoch = Epoch.containing(moment)
    assert epoch.start <= moment < epoch.end
    assert Epoch.parse(epoch.id) == epoch
    assert epoch.id < epoch.shift(1).id
    assert epoch.month_id <= epoch.id < epoch.next_month_id
