"""All parts together, with their background tasks."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from server.billing.hold_desk import HoldRequest, Serving
from server.billing.prices import Tariff
from server.billing.service import Billing, make_billing
from server.observe import Metrics, Supervisor
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.store.engine import Store
from tests.testbed.books import MINUTE, Books
from tests.testbed.flaky_store import FlakyStore


def _billing(store: Store, books: Books, instance: str = "one") -> Billing:
    return make_billing(
        store, Tariff(), wall_clock=lambda: books.now, instance_id=instance, is_known_model=lambda model: True
    )


def _record(request: str) -> SettlementRecord:
    return SettlementRecord(
        coord_request_id=request,
        job_id="job",
        account_id="c",
        key_id=None,
        public_model="model",
        build="build",
        session_id="s",
        provider_id="machine",
        provider_account_id="o",
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


async def test_requests_that_end_while_the_database_is_away_are_settled_when_it_is_back(books: Books) -> None:
    await books.grant("c", credit=1_000_000)
    flaky = FlakyStore(books.store)
    billing = _billing(flaky, books)
    async with trio.open_nursery() as nursery:
        billing.start(nursery, Supervisor(Metrics(), strict=True))
        for n in range(10):
            hold = await billing.desk.open_hold(
                HoldRequest(request_id=f"r{n}", account_id="c", model="build", prompt_tokens=4000, max_tokens=8192)
            )
            await billing.desk.raise_for_provider(hold, Serving(account_id="o", provider_key="k", model="build"))
        flaky.down = True
        for n in range(10):
            await billing.settlement.settle(_record(f"r{n}"))
        assert len(billing.queue) == 10
        flaky.down = False
        with trio.fail_after(10):
            while len(billing.queue):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert await books.balance("c") == (1_000_000 - 10 * 115, 0, 0, 0)
    assert (await books.balance("o")).balance == 1150
    [totals] = await books.rows("SELECT total_requests FROM usage_totals")
    assert totals["total_requests"] == 10


async def test_a_stop_settles_what_waits(books: Books) -> None:
    await books.grant("c", credit=1_000_000)
    flaky = FlakyStore(books.store)
    billing = _billing(flaky, books)
    await billing.desk.open_hold(
        HoldRequest(request_id="r", account_id="c", model="build", prompt_tokens=4000, max_tokens=8192)
    )
    flaky.down = True
    async with trio.open_nursery() as nursery:
        billing.start(nursery, Supervisor(Metrics(), strict=True))
        await billing.settlement.settle(_record("r"))
        await trio.testing.wait_all_tasks_blocked()
        flaky.down = False
        nursery.cancel_scope.cancel()
    assert (await books.balance("c")).held == 0
    assert len(await books.rows("SELECT * FROM usage")) == 1


async def test_one_coordinator_sweeps_and_another_takes_over(books: Books) -> None:
    await books.grant("c", credit=1000)
    one, two = _billing(books.store, books, "one"), _billing(books.store, books, "two")
    assert await one.sweeper.turn() == 0
    await books.hold("crashed", "c", 100)
    books.now += MINUTE
    await one.sweeper.turn()  # renews the lock
    await books.run("UPDATE reservations SET expires_at = $1", books.now)
    books.now += 2 * MINUTE
    assert await two.sweeper.turn() == 0
    books.now += 2 * MINUTE  # the lock of the first is over
    assert await two.sweeper.turn() == 1


async def test_the_audit_tells_of_a_difference(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    books = Books(store)
    billing = _billing(store, books)
    await books.grant("c", credit=1000)
    assert (await billing.audit.look()).is_sound
    assert (billing.audit.problems, caplog.text) == (0, "")
    await books.run("UPDATE balances SET balance_micro_usd = 999")
    assert not (await billing.audit.look()).is_sound
    assert billing.audit.problems == 1
    [message] = [entry for entry in caplog.records if entry.message == "ledger_unsound"]
    assert message.__dict__["rules"] == ["A2 balance is the sum of the entries"]
