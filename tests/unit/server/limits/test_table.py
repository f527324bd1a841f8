"""Tables of buckets stay bounded and forget only what is full anyway."""

from __future__ import annotations

from server.limits import BucketTable, Rate
from server.limits.table import IDLE_SECONDS, SWEEP_SECONDS

RATE = Rate(1, 10)


def test_a_key_keeps_its_bucket() -> None:
    table = BucketTable()
    assert table.get("a", RATE, 0.0).take(4, 0.0)
    assert table.get("a", RATE, 0.0).level(0.0) == 6
    assert table.get("b", RATE, 0.0).level(0.0) == 10


def test_the_bucket_that_was_idle_longest_makes_room() -> None:
    table = BucketTable(max_buckets=2)
    table.get("a", RATE, 0.0).take(5, 0.0)
    table.get("b", RATE, 0.0)
    table.get("a", RATE, 1.0)
    table.get("c", RATE, 1.0)
    assert len(table) == 2
    assert table.find("b") is None
    assert table.find("a") is not None


def test_idle_full_buckets_are_swept_every_five_minutes() -> None:
    table = BucketTable()
    for number in range(100):
        table.get(f"k{number}", RATE, 0.0).take(1, 0.0)
    table.get("late", RATE, IDLE_SECONDS - SWEEP_SECONDS).take(1, IDLE_SECONDS - SWEEP_SECONDS)
    assert len(table) == 101
    table.get("new", RATE, IDLE_SECONDS)
    assert len(table) == 2


def test_a_bucket_in_debt_is_not_forgotten() -> None:
    table = BucketTable()
    table.get("debtor", Rate(0.001, 10), 0.0).debit(1000, 0.0)
    table.get("idle", RATE, 0.0).take(1, 0.0)
    assert table.sweep(IDLE_SECONDS) == 1
    assert table.find("debtor") is not None


def test_a_changed_rate_counts_at_once() -> None:
    table = BucketTable()
    table.get("a", RATE, 0.0)
    assert table.get("a", Rate(1, 3), 0.0).level(0.0) == 3
