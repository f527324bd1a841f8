"""Spend windows of API keys."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from server.billing.key_spend import (
    SETTLED_WITHIN,
    WINDOWS,
    SpendCache,
    SpentBefore,
    Window,
    committed,
    spent,
    summed_from,
    window_start,
)
from server.store.engine import Store
from tests.testbed.books import START, Books
from tests.testbed.flaky_store import FlakyStore


def _micro(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("window", "start"),
    [("daily", "2026-07-15T00:00"), ("weekly", "2026-07-13T00:00"), ("monthly", "2026-07-01T00:00")],
)
def test_window_starts_of_a_wednesday(window: Window, start: str) -> None:
    assert window_start(window, _micro("2026-07-15T10:00")) == _micro(start)


@pytest.mark.parametrize("window", ["daily", "weekly", "monthly"])
def test_a_window_starts_at_its_first_microsecond(window: Window) -> None:
    start = _micro("2026-06-01T00:00")  # a Monday, the first of a month
    assert window_start(window, start) == start
    assert window_start(window, start + 1) == start
    assert window_start(window, start - 1) < start


def test_a_lifetime_starts_with_time() -> None:
    assert window_start("none", _micro("2026-07-15T10:00")) == 0


def test_a_week_crosses_months_and_years() -> None:
    assert window_start("weekly", _micro("2027-01-01T12:00")) == _micro("2026-12-28T00:00")
    assert window_start("monthly", _micro("2024-02-29T12:00")) == _micro("2024-02-01T00:00")


async def _direct(books: Books, window: Window) -> int:
    return await books.store.read(lambda tx: spent(tx, "k", window, books.now))


@pytest.mark.parametrize("window", WINDOWS)
async def test_the_remembered_part_and_the_rest_are_the_whole(store: Store, window: Window) -> None:
    books, cache, chance = Books(store), SpendCache(store), random.Random(7)
    await books.grant("a", credit=10**9)
    for n in range(60):
        books.now += chance.choice([1, 20, 60, 200, 3000, 40_000]) * 1_000_000
        await books.hold(f"r{n}", "a", 1000)
        await books.settle(f"r{n}", "a", chance.randrange(1, 1000), key_id=chance.choice(["k", "k", "other"]))
        if chance.random() < 0.5:
            continue
        before = await cache.before("k", window, books.now)
        since, earlier = summed_from(window, books.now, before)
        [row] = await books.rows(
            "SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) AS rest FROM usage"
            " WHERE key_id = 'k' AND created_at >= $1",
            since,
        )
        rest = row["rest"]
        assert isinstance(rest, int)
        assert earlier + rest == await _direct(books, window)
        assert await store.read(lambda tx, b=before: committed(tx, "k", window, books.now, b)) == earlier + rest  # type: ignore[misc]


async def test_an_old_key_is_summed_up_once(store: Store) -> None:
    class Counting(FlakyStore):
        reads = 0

        async def read(self, work):  # type: ignore[no-untyped-def]
            self.reads += 1
            return await super().read(work)

    counting = Counting(store)
    cache, now = SpendCache(counting), START
    for _ in range(30):
        await cache.before("k", "none", now)
        now += 10_000_000
    assert counting.reads == 3  # one for the past, and one every two minutes from then on
    assert (await cache.before("k", "none", now)).until >= now - 2 * SETTLED_WITHIN


async def test_a_window_that_just_began_needs_no_look_back(store: Store) -> None:
    flaky = FlakyStore(store)
    flaky.down = True
    midnight = window_start("daily", START)
    assert (await SpendCache(flaky).before("k", "daily", midnight + 60_000_000)).spent == 0


async def test_a_part_of_another_window_does_not_count() -> None:
    assert summed_from("daily", START, SpentBefore(1, 2, 99)) == (window_start("daily", START), 0)


async def test_remembered_keys_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.billing.key_spend.MAX_CACHED", 3)
    cache = SpendCache(store)
    for n in range(10):
        await cache.before(f"k{n}", "none", START)
    assert len(cache._known) <= 3
