"""The network's counters."""

from __future__ import annotations

import trio
import trio.testing

from server.billing.prices import Tokens
from server.billing.usage_totals import UsageTotals, recompute
from server.store.engine import Store
from tests.testbed.books import Books
from tests.testbed.flaky_store import FlakyStore

_SQL = "SELECT total_requests, total_prompt_tokens, total_completion_tokens FROM usage_totals"


async def _read(books: Books) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in await books.rows(_SQL)]


async def test_deltas_add_up(books: Books) -> None:
    totals = UsageTotals(books.store)
    await totals.flush()
    assert await _read(books) == []
    totals.add(10, 5)
    totals.add(1, 2)
    await totals.flush()
    totals.add(100, 200)
    await totals.flush()
    await totals.flush()
    assert await _read(books) == [(3, 111, 207)]


async def test_nothing_is_lost_while_the_database_is_away(store: Store) -> None:
    flaky = FlakyStore(store)
    totals = UsageTotals(flaky)
    totals.add(10, 5)
    flaky.down = True
    await totals.flush()
    totals.add(1, 1)
    flaky.down = False
    await totals.flush()
    assert await _read(Books(store)) == [(2, 11, 6)]


async def test_the_task_writes_at_its_end(store: Store) -> None:
    totals = UsageTotals(store, flush_seconds=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(totals.run)
        await trio.testing.wait_all_tasks_blocked()
        totals.add(10, 5)
        nursery.cancel_scope.cancel()
    assert await _read(Books(store)) == [(1, 10, 5)]


async def test_recompute_counts_public_usage_only(books: Books) -> None:
    await books.grant("c", credit=5000)
    for request, owner in (("r1", "o"), ("r2", "c")):
        await books.hold(request, "c", 500)
        await books.settle(request, "c", 100, owner=owner, tokens=Tokens(7, 0, 3))
    await books.store.write(recompute)
    await books.store.write(recompute)
    assert await _read(books) == [(1, 7, 3)]
