"""A first withdrawal waits when one consumer of gifts paid most of what the account earned."""

from __future__ import annotations

import pytest

from protocol.api.errors import ApiError
from server.accounts.changes import Changes
from server.administration.operator import Operator
from server.administration.payouts import PayoutActs, waiting
from server.billing.ledger import STRIPE_IN, Entry, post
from server.payments.first_withdrawals import Funding
from server.store import NotFound
from tests.testbed.stripe_peer_world import World


async def serve(world: World, owner: str, payer: str, amount: int) -> None:
    """Let a payer's request be served by a machine of the owner."""
    now = world.clock()
    entries = [Entry(payer, "charge", -amount), Entry(owner, "payout", amount, amount)]
    await world.store.write(lambda tx: post(tx, "settle", f"request-{now}", entries, now))


async def buy(world: World, account_id: str, amount: int) -> None:
    now = world.clock()
    entries = [Entry(STRIPE_IN, "stripe_deposit", -amount), Entry(account_id, "stripe_deposit", amount)]
    await world.store.write(lambda tx: post(tx, "deposit", f"order-{now}", entries, now))


async def withdraw(world: World) -> str:
    """Ask for two dollars; the refusal's type, or `paid`."""
    try:
        await world.payouts.withdrawals.withdraw("ann", gross_micro_usd=2_000_000, method="standard")
    except ApiError as error:
        return error.error_type
    return "paid"


async def test_gifts_that_one_consumer_spends_do_not_leave_unseen(world: World) -> None:
    await world.payee("ann")
    await world.person("gifted", bought=10_000_000)
    await serve(world, "ann", "gifted", 6_000_000)
    assert await withdraw(world) == "payout_under_review"
    assert await withdraw(world) == "payout_under_review"
    assert world.meter.alerts == ["first_withdrawal_held"]
    assert not await world.rows("SELECT 1 FROM stripe_withdrawals")
    assert (await world.balance("ann")).balance == 6_000_000
    (review,), in_doubt = await world.store.read(lambda tx: waiting(tx, 10))
    assert (review.account_id, review.payer_account, review.payer_micro_usd) == ("ann", "gifted", 6_000_000)
    assert not in_doubt


async def test_the_operator_lets_it_pass_once_and_for_all(world: World) -> None:
    await world.payee("ann")
    await world.person("gifted", bought=10_000_000)
    await serve(world, "ann", "gifted", 6_000_000)
    assert await withdraw(world) == "payout_under_review"
    acts = PayoutActs(Operator(world.store, changes=Changes(world.store), wall_clock=world.clock))
    review = await acts.release("cli:root", "ann")
    assert (review.is_open, review.decided_by) == (False, "cli:root")
    assert [await withdraw(world), await withdraw(world)] == ["paid", "paid"]
    with pytest.raises(NotFound, match="no open review"):
        await acts.release("cli:root", "ann")
    (row,) = await world.rows("SELECT action, target FROM admin_audit")
    assert tuple(row.values()) == ("payout.release", "ann")


async def test_money_that_was_bought_or_earned_raises_no_question(world: World) -> None:
    await world.payee("ann")
    await world.person("buyer", bought=10_000_000)
    await buy(world, "buyer", 5_000_000)
    await serve(world, "ann", "buyer", 6_000_000)
    assert await withdraw(world) == "paid"


async def test_many_consumers_raise_no_question(world: World) -> None:
    await world.payee("ann")
    for name in ("one", "two"):
        await world.person(name, bought=10_000_000)
        await serve(world, "ann", name, 3_000_000)
    assert await withdraw(world) == "paid"


async def test_only_the_first_withdrawal_is_looked_at(world: World) -> None:
    await world.payee("ann", earned=5_000_000)
    assert await withdraw(world) == "paid"
    await world.person("gifted", bought=10_000_000)
    await serve(world, "ann", "gifted", 6_000_000)
    assert await withdraw(world) == "paid"


@pytest.mark.parametrize(("earned", "most", "expected"), [(100, 50, False), (100, 51, True), (1, 1, True)])
def test_more_than_half_is_one_sided(earned: int, most: int, expected: bool) -> None:
    assert Funding(earned=earned, payer_account="x", payer_amount=most).is_one_sided is expected
