"""Money when the answer to a COMMIT is lost: one withdrawal, one order, and nobody is told to try again."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator

import pytest

from protocol.api.errors import ApiError
from server.payments.withdrawals import Withdrawals
from tests.testbed.flaky_store import FlakyStore
from tests.testbed.lost_commits import LostCommits, open_lossy_store
from tests.testbed.postgres_server import NoServer
from tests.testbed.stripe_peer_world import HOUR, World, open_world


@pytest.fixture(params=["sqlite", "postgres"])
async def lossy(request: pytest.FixtureRequest) -> AsyncGenerator[tuple[World, LostCommits], None]:
    try:
        async with open_lossy_store(request.param) as (store, losses), open_world(store) as opened:
            yield opened, losses
    except NoServer as problem:
        if os.environ.get("CI") == "1":
            raise
        pytest.skip(str(problem))


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
