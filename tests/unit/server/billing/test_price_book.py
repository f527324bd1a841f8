"""Prices: whose counts, what may be written, and how long a cached one lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from server.billing.price_book import MAX_PRICE, PriceBook, PriceListing, write_price
from server.billing.prices import FALLBACK_PRICE, Price, Tariff
from server.store.errors import Invalid, NotFound
from tests.testbed.flaky_store import FlakyStore
from tests.testbed.store import open_test_store

if TYPE_CHECKING:
    from tests.unit.server.billing.conftest import Desk

BASE = Price(30_000, 165_000)


async def test_owner_then_platform_then_fallback(desk: Desk) -> None:
    prices = desk.billing.prices
    assert await prices.price("m", "o") == FALLBACK_PRICE
    await desk.platform_price("m", BASE)
    assert await prices.price("m", "o") == BASE
    await prices.set_own_price("o", "m", Price(31_000, 1, 5))
    assert await prices.price("m", "o") == (31_000, 1, 5)
    assert await prices.price("m", "other") == BASE
    assert await prices.price("m") == BASE
    await prices.delete_own_price("o", "m")
    assert await prices.price("m", "o") == BASE
    with pytest.raises(NotFound):
        await prices.delete_own_price("o", "m")


async def test_the_listing_is_sorted_and_complete(desk: Desk) -> None:
    prices = desk.billing.prices
    await desk.platform_price("b", BASE)
    await desk.platform_price("B", Price(10, 20, 3))
    await desk.platform_price("a", Price(1, 1))
    await prices.set_own_price("o", "c", Price(1, 1))
    assert await prices.listing() == [
        PriceListing(model="B", input=10, output=20, cache_read=3),
        PriceListing(model="a", input=1, output=1, cache_read=0),
        PriceListing(model="b", input=30_000, output=165_000, cache_read=15_000),
    ]


@pytest.mark.parametrize(
    ("model", "price", "text"),
    [
        ("", BASE, "model"),
        ("m\x00", BASE, "model"),
        ("m", Price(0, 1), "positive"),
        ("m", Price(1, -1), "positive"),
        ("m", Price(10, 1, 11), "cache_read_price"),
        ("m", Price(10, 1, -1), "cache_read_price"),
        ("m", Price(1, MAX_PRICE + 1), "at most"),
    ],
)
async def test_prices_that_can_never_be(desk: Desk, model: str, price: Price, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        await desk.platform_price(model, price)
    with pytest.raises(Invalid, match=text):
        await desk.billing.prices.set_own_price("o", model, price)
    assert await desk.books.rows("SELECT * FROM model_prices") == []


async def test_own_prices_stay_near_the_platforms(desk: Desk) -> None:
    prices = desk.billing.prices
    await desk.platform_price("m", BASE)
    await prices.set_own_price("o", "m", Price(150_000, 825_000))
    with pytest.raises(Invalid, match="input_price may be at most 5 times the platform's price: 150000"):
        await prices.set_own_price("o", "m", Price(150_001, 1))
    with pytest.raises(Invalid, match="output_price may be at most 5 times the platform's price: 825000"):
        await prices.set_own_price("o", "m", Price(1, 825_001))
    with pytest.raises(Invalid, match="'unknown' is not known"):
        await prices.set_own_price("o", "unknown", BASE)


async def test_another_processes_write_is_seen_after_thirty_seconds(autojump_clock: MockClock) -> None:
    async with open_test_store("sqlite") as store:
        prices = PriceBook(store, Tariff(), wall_clock=lambda: 1, is_known_model=lambda model: True)
        assert await prices.price("m") == FALLBACK_PRICE
        await store.write(lambda tx: write_price(tx, "platform", "m", BASE, 1))
        await trio.sleep(29.9)
        assert await prices.price("m") == FALLBACK_PRICE
        await trio.sleep(0.2)
        assert await prices.price("m") == BASE


async def test_a_slow_lookup_does_not_bring_an_old_price_back(desk: Desk) -> None:
    started, go = trio.Event(), trio.Event()

    class Slow(FlakyStore):
        async def read(self, work):  # type: ignore[no-untyped-def]
            result = await super().read(work)
            started.set()
            await go.wait()
            return result

    prices = PriceBook(Slow(desk.store), Tariff(), wall_clock=lambda: 1, is_known_model=lambda model: True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prices.price, "m")
        await started.wait()
        await desk.store.write(lambda tx: write_price(tx, "platform", "m", BASE, 1))
        prices.forget("platform", "m")
        go.set()
    assert await prices.price("m") == BASE


async def test_the_cache_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.billing.price_book.MAX_CACHED", 3)
    for n in range(10):
        await desk.billing.prices.price(f"m{n}")
    assert len(desk.billing.prices._cache) <= 3
