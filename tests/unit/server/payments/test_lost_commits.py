"""Money when the answer to a COMMIT is lost: one withdrawal, one order, and nobody is told to try again."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from protocol.api.errors import ApiError
from server.payments.withdrawals import Withdrawals
from tests.testbed.flaky_store import FlakyStore
from tests.testbed.lost_commits import LostCommits, open_lossy_store
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer
from tests.testbed.stripe_peer_world import HOUR, World, open_world


@pytest.fixture(params=["sqlite", "postgres"])
async def lossy(request: pytest.FixtureRequest) -> AsyncGenerator[tuple[World, LostCommits], None]:
    try:
        async with open_lossy_store(request.param) as (store, losses), open_world(store) as opened:
            yield opened, losses
    except NoServer as problem:
        absent(problem)


@pytest.mark.parametrize("key", ["", "k-1"])
async def test_a_withdrawal_goes_on(lossy: tuple[World, LostCommits], key: str) -> None:
    world, losses = lossy
    await world.payee("ann", earned=20_000_000)
    losses.of, losses.pending = "INSERT INTO stripe_withdrawals", 1
    answer = await world.payouts.withdrawals.withdraw(
        "ann", gross_micro_usd=10_000_000, method="standard", idempotency_key=key
    )
    assert losses.pending == 0
    assert (answer.status, answer.balance_micro_usd, len(world.peer.transfers)) == (200, 10_000_000, 1)
    assert (await world.only_withdrawal()).status == "transferred"


async def test_a_withdrawal_in_doubt_is_never_offered_again(world: World) -> None:
    await world.payee("ann", earned=20_000_000)
    flaky = FlakyStore(world.store)
    flaky.lose_answers = 1
    parts = world.payouts
    withdrawals = Withdrawals(
        store=flaky,  # type: ignore[arg-type]
        accounts=parts.accounts,
        steps=parts.reconciler._steps,
        reviews=parts.withdrawals._reviews,
        clock=world.clock,
    )
    with pytest.raises(ApiError) as caught:
        await withdrawals.withdraw("ann", gross_micro_usd=10_000_000, method="standard")
    assert (caught.value.status, caught.value.code, caught.value.retryable) == (502, "outcome_unconfirmed", False)
    assert (await world.only_withdrawal()).status == "pending"
    world.clock.go(HOUR)
    await parts.reconciler.run_once()
    assert (await world.only_withdrawal()).status == "transferred"
    assert len(world.peer.transfers) == 1


async def test_an_order_is_written_once(lossy: tuple[World, LostCommits]) -> None:
    world, losses = lossy
    await world.person("ann")
    assert world.payments.deposits is not None
    losses.pending = 1
    begun = await world.payments.deposits.begin("ann", cents=500)
    assert losses.pending == 0
    rows = await world.rows("SELECT id, external_id FROM billing_sessions")
    assert [tuple(row.values()) for row in rows] == [(begun.order.id, begun.stripe_session_id)]


async def test_a_takeback_is_told_to_a_person_once(lossy: tuple[World, LostCommits]) -> None:
    world, losses = lossy
    await world.person("ann")
    assert world.payments.deposits is not None
    page = (await world.payments.deposits.begin("ann", cents=500)).stripe_session_id
    assert await world.deposit_hook(world.peer.pay(page)) == 200
    losses.of, losses.pending = "INSERT INTO ledger_txns", 1
    event = world.peer.refund(page, total_cents=500)
    assert await world.deposit_hook(event) == 200
    assert losses.pending == 0
    assert world.meter.alerts == ["charge_refunded"]
    assert await _refund_outcomes(world) == ["took 5000000, missing 0"]
    assert await world.deposit_hook({**event, "id": "evt_again"}) == 200
    assert world.meter.alerts == ["charge_refunded"]


async def test_a_takeback_is_told_when_the_next_delivery_finds_it_done(lossy: tuple[World, LostCommits]) -> None:
    world, losses = lossy
    await world.person("ann")
    assert world.payments.deposits is not None
    page = (await world.payments.deposits.begin("ann", cents=500)).stripe_session_id
    await world.deposit_hook(world.peer.pay(page))
    await world.deposit_hook(world.peer.refund(page, total_cents=100))
    await world.store.write(
        lambda tx: tx.execute("UPDATE balances SET held_micro_usd = 1000000 WHERE account_id = 'ann'")
    )
    losses.of, losses.pending = "INSERT INTO ledger_txns", 2
    event = world.peer.refund(page, total_cents=500, before_cents=100)
    assert await world.deposit_hook(event) == 500
    assert world.meter.alerts == ["charge_refunded"]
    # What was taken back afterwards changes nothing in what is told.
    await world.deposit_hook(world.peer.dispute(page, 500))
    assert await world.deposit_hook(event) == 200
    assert world.meter.alerts == ["charge_refunded", "charge_disputed", "charge_refunded"]
    assert sorted(await _refund_outcomes(world)) == ["took 1000000, missing 0", "took 3000000, missing 1000000"]
    assert (await world.balance("ann")).balance == 1_000_000


async def test_takebacks_that_are_remembered_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.payments.takebacks.MAX_REMEMBERED", 2)
    await world.person("ann")
    assert world.payments.deposits is not None
    page = (await world.payments.deposits.begin("ann", cents=500)).stripe_session_id
    await world.deposit_hook(world.peer.pay(page))
    events = [world.peer.refund(page, total_cents=n, before_cents=n - 100) for n in (100, 200, 300)]
    for event in events:
        await world.deposit_hook(event)
    assert len(world.meter.alerts) == 3
    await world.deposit_hook({**events[2], "id": "evt_known"})
    assert len(world.meter.alerts) == 3
    await world.deposit_hook({**events[0], "id": "evt_forgotten"})
    assert len(world.meter.alerts) == 4


async def _refund_outcomes(world: World) -> list[str]:
    rows = await world.rows("SELECT outcome FROM stripe_events WHERE type = 'charge.refunded'")
    return [str(row["outcome"]) for row in rows]
