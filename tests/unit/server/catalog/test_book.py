"""The catalogue in memory: rows over a file, one whole state at a time, and routing told of changes alone."""

from __future__ import annotations

import pytest
import trio

from server.catalog import Alias, ModelBook
from server.catalog.book import REFRESH_SECONDS
from server.registry import CatalogEntry
from server.store import Store, StoreUnavailable
from tests.testbed.flaky_store import FlakyStore
from tests.testbed.store import open_test_store
from tests.unit.server.catalog.catalog_world import CatalogWorld


async def test_a_file_alone_is_a_catalogue(store: Store) -> None:
    entries = [CatalogEntry(id="b", context_window=64, features=("tools", "unheard")), CatalogEntry(id="a")]
    world = CatalogWorld(
        store, file_entries=entries, file_aliases=[Alias(id="chat", desired_build="b", previous_build="a")]
    )
    assert world.book.configured
    assert [one.id for one in world.book.models()] == ["a", "b"]
    assert world.book.resolve("chat") == ("chat", "b", "a")
    await world.book.refresh()
    model = world.book.model("b")
    assert model is not None
    assert (model.facts.max_context_length, model.facts.capabilities) == (64, ("tools",))
    assert all({one.id for one in told or []} == {"a", "b"} for told in world.told)


async def test_rows_win_over_the_file(store: Store) -> None:
    world = CatalogWorld(
        store,
        file_entries=[CatalogEntry(id="a", context_window=1), CatalogEntry(id="b")],
        file_aliases=[Alias(id="chat", desired_build="a")],
    )
    await world.set("a", max_context_length=2)
    await world.alias("chat", "b")
    told = world.told[-1] or []
    assert [(one.id, one.context_window) for one in told] == [("a", 2), ("b", 0)]
    assert world.book.resolve("chat") == ("chat", "b", None)


async def test_nothing_in_file_and_database_is_no_catalogue(store: Store) -> None:
    world = CatalogWorld(store)
    await world.book.refresh()
    assert not world.book.configured
    assert world.told == []
    assert list(world.book.models()) == []
    assert list(world.book.aliases()) == []
    assert world.book.resolve("x") is None


async def test_routing_is_told_only_of_changes(store: Store) -> None:
    world = CatalogWorld(store)
    await world.set("a")
    told = len(world.told)
    await world.book.refresh()
    await world.set("a", display_name="A")
    await world.alias("chat", "a")
    assert len(world.told) == told


async def test_what_another_coordinator_writes_is_seen_within_seconds(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_store("sqlite") as store, trio.open_nursery() as nursery:
        here, there = CatalogWorld(store), CatalogWorld(store)
        nursery.start_soon(here.book.run)
        await there.set("a")
        assert here.book.model("a") is None
        await trio.sleep(REFRESH_SECONDS + 1)
        assert here.book.model("a") is not None
        nursery.cancel_scope.cancel()


async def test_the_last_state_stays_while_the_database_is_away(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_store("sqlite") as store, trio.open_nursery() as nursery:
        flaky = FlakyStore(store)
        world = CatalogWorld(store)
        await world.set("a")
        book = ModelBook(flaky, file_entries=None, on_change=world.told.append)  # type: ignore[arg-type]
        await book.refresh()
        flaky.down = True
        with pytest.raises(StoreUnavailable):
            await book.refresh()
        nursery.start_soon(book.run)
        await trio.sleep(2 * REFRESH_SECONDS + 1)
        assert book.model("a") is not None
        flaky.down = False
        await world.set("b")
        await trio.sleep(REFRESH_SECONDS + 1)
        assert book.model("b") is not None
        nursery.cancel_scope.cancel()
