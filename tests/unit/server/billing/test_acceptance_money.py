"""What the written rules of money ask for beyond the tests of single parts: statements, moves, owners who change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from server.billing.hold_desk import HoldRequest, Serving
from server.billing.ledger import Entry, post
from server.billing.observer import SilentBillingObserver
from server.billing.retry_queue import RetryQueue
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.store.errors import InsufficientBalance
from tests.testbed.books import Books
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.store import open_test_store

if TYPE_CHECKING:
    from server.billing.hold_desk import Exemption
    from server.store.dialect import EngineKind
    from tests.unit.server.billing.conftest import Desk

MOST_FOR_A_HOLD, MOST_FOR_A_REQUEST = 4, 12


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_paid_request_stays_within_its_statements_on_both_engines(kind: EngineKind) -> None:
    heard: list[str] = []

    def count() -> int:
        return sum(not sql.startswith(("BEGIN", "COMMIT", "--")) for sql in heard)

    try:
        async with open_test_store(kind, on_statement=heard.append) as store:
            books = Books(store)
            await books.user("o", fee=10)
            await books.grant("c", credit=10_000)
            await books.refer("c", "friend")
            for request in ("first payout of an owner", "later"):
                heard.clear()
                await books.hold(request, "c", 1000)
                assert 1 <= count() <= MOST_FOR_A_HOLD
                await books.settle(request, "c", 213, owner="o")
                assert count() <= MOST_FOR_A_REQUEST
    except NoServer as problem:
        absent(problem)


async def test_an_account_with_an_open_hold_is_not_moved(books: Books) -> None:
    await books.grant("old", credit=70, earned=30)
    await books.hold("r", "old", 1)

    async def move() -> int | None:
        moved = (Entry("old", "migration", -100, -30), Entry("new", "migration", 100, 30))
        return await books.store.write(lambda tx: post(tx, "migrate", "old->new", moved, books.now))

    with pytest.raises(InsufficientBalance):
        await move()
    assert await books.balance("old") == (100, 30, 1, 0)
    assert await books.balance("new") == (0, 0, 0, 0)
    await books.release("r")
    assert await move() is not None
    assert (await books.balance("old"), await books.balance("new")) == ((0, 0, 0, 0), (100, 30, 0, 0))


def _record(request: str, account: str, owner: str | None) -> SettlementRecord:
    return SettlementRecord(
        coord_request_id=request,
        job_id="job",
        account_id=account,
        key_id=None,
        public_model="model",
        build="build",
        session_id="s",
        provider_id="machine",
        provider_account_id=owner,
        stream=True,
        outcome=Outcome.SUCCESS,
        status=200,
        usage=BilledUsage(prompt_tokens=900, completion_tokens=350),
        delivered_deltas=350,
        delivered_text_bytes=1000,
        max_tokens=8192,
        attempts=1,
        started_at=0.0,
        ended_at=1.0,
        segments=None,
    )


async def _dispatched(desk: Desk, request: str, account: str, owner: str, exempt: Exemption = "none") -> None:
    hold = await desk.billing.desk.open_hold(
        HoldRequest(
            request_id=request, account_id=account, model="build", prompt_tokens=4000, max_tokens=8192, exempt=exempt
        )
    )
    assert await desk.billing.desk.raise_for_provider(
        hold, Serving(account_id=owner, provider_key="key", model="build")
    )


@pytest.mark.parametrize("now_linked_to", [None, "thief"])
async def test_the_own_machine_that_is_unlinked_while_it_runs_pays_nobody_from_nothing(
    desk: Desk, now_linked_to: str | None
) -> None:
    await _dispatched(desk, "r", "c", "c", "self")
    await desk.billing.settlement.settle(_record("r", "c", now_linked_to))
    assert await desk.books.entries() == []
    [usage] = await desk.books.rows("SELECT cost_micro_usd FROM usage")
    assert usage["cost_micro_usd"] == 0


@pytest.mark.parametrize("now_linked_to", [None, "thief"])
async def test_who_owned_the_machine_at_the_dispatch_is_paid(desk: Desk, now_linked_to: str | None) -> None:
    await desk.books.grant("c", credit=1_000_000)
    await _dispatched(desk, "r", "c", "o")
    await desk.billing.settlement.settle(_record("r", "c", now_linked_to))
    assert await desk.books.balance("o") == (115, 115, 0, 0)
    assert await desk.books.balance("thief") == (0, 0, 0, 0)


class _Losses(SilentBillingObserver):
    """Counts what the queue gave up."""

    def __init__(self) -> None:
        self.operations: list[str] = []

    def lost(self, operation: str) -> None:
        self.operations.append(operation)


def test_ten_thousand_operations_may_wait_for_the_database() -> None:
    losses = _Losses()
    queue = RetryQueue(losses)
    for n in range(10_001):
        queue.put("settle", f"r{n}", trio.lowlevel.checkpoint)
    assert (len(queue), losses.operations) == (10_000, ["settle"])
