"""Withdrawals whose outcome Stripe never told are ended by what an operator saw there."""

from __future__ import annotations

import pytest

from protocol.api.errors import ApiError
from server.accounts.changes import Changes
from server.administration.operator import Operator
from server.administration.payouts import PayoutActs, waiting
from server.billing.verify import verify
from server.payments.withdrawal_rows import Withdrawal, ask_for_review
from server.store import Conflict, Invalid, NotFound
from tests.testbed.stripe_peer_faults import Fault
from tests.testbed.stripe_peer_world import World


def acts(world: World) -> PayoutActs:
    return PayoutActs(Operator(world.store, changes=Changes(world.store), wall_clock=world.clock))


async def doubtful(world: World) -> Withdrawal:
    """A withdrawal that was debited, whose transfer never got an answer, and that waits for a person."""
    await world.payee("ann", earned=20_000_000)
    world.peer.faults.add(Fault("error_before", "/v1/transfers", times=9))
    with pytest.raises(ApiError):
        await world.payouts.withdrawals.withdraw("ann", gross_micro_usd=10_000_000, method="standard")
    row = await world.only_withdrawal()
    assert await world.store.write(lambda tx: ask_for_review(tx, row.id, "pending"))
    return row


async def test_it_is_listed_and_sent_on(world: World) -> None:
    row = await doubtful(world)
    reviews, in_doubt = await world.store.read(lambda tx: waiting(tx, 10))
    assert (reviews, [one.id for one in in_doubt]) == ([], [row.id])
    with pytest.raises(Invalid, match="tr_"):
        await acts(world).sent("cli:root", row.id, "po_1")
    after = await acts(world).sent("cli:root", row.id, "tr_found")
    assert (after.status, after.transfer_id, after.needs_review) == ("transferred", "tr_found", False)
    assert (await world.balance("ann")).balance == 10_000_000
    with pytest.raises(Conflict, match="transferred"):
        await acts(world).not_sent("cli:root", row.id)


async def test_what_never_left_comes_back_once(world: World) -> None:
    row = await doubtful(world)
    after = await acts(world).not_sent("cli:root", row.id)
    assert (after.status, after.refunded) == ("failed", True)
    for act in (acts(world).not_sent, acts(world).paid):
        with pytest.raises(Conflict):
            await act("cli:root", row.id)
    balance = await world.balance("ann")
    assert (balance.balance, balance.withdrawable) == (20_000_000, 20_000_000)
    assert (await world.store.read(verify)).is_sound


async def test_a_transferred_one_is_seen_as_paid(world: World) -> None:
    row = await doubtful(world)
    await acts(world).sent("cli:root", row.id, "tr_found")
    with pytest.raises(Conflict, match="does not wait"):
        await acts(world).paid("cli:root", row.id)
    assert await world.store.write(lambda tx: ask_for_review(tx, row.id, "transferred"))
    assert (await acts(world).paid("cli:root", row.id)).status == "paid"
    targets = await world.rows("SELECT action FROM admin_audit ORDER BY id")
    assert [one["action"] for one in targets] == ["payout.sent", "payout.paid"]


async def test_an_unknown_one_is_not_there(world: World) -> None:
    with pytest.raises(NotFound):
        await acts(world).paid("cli:root", "00000000-0000-0000-0000-000000000000")
