"""Events of connected accounts: instant payouts, sweeps, bounces, reversals, in every order and number."""

from __future__ import annotations

from itertools import permutations

import pytest
import trio

from protocol.api.errors import ApiError
from server.payments.fees import Method
from server.payments.withdrawal_rows import Withdrawal
from tests.testbed.stripe_peer import Json
from tests.testbed.stripe_peer_world import HOUR, World


async def withdrawn(world: World, gross: int = 10_000_000, method: Method = "standard") -> Withdrawal:
    answer = await world.payouts.withdrawals.withdraw("ann", gross_micro_usd=gross, method=method)
    return answer.row


async def sweep(world: World, connected: str) -> str:
    world.clock.go(HOUR)
    payout = world.peer.sweep(connected)
    assert payout is not None
    return payout


async def states(world: World) -> list[str]:
    return [str(row["status"]) for row in await world.rows("SELECT status FROM stripe_withdrawals ORDER BY created_at")]


async def test_instant_payout_paid(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, method="instant")
    event = world.peer.settle_payout(row.payout_id)
    assert [await world.connect_hook(event), await world.connect_hook({**event, "id": "evt_2"})] == [200, 200]
    assert (await world.row(row.id)).status == "paid"


async def test_paid_then_bounced_then_swept(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, method="instant")
    paid = world.peer.settle_payout(row.payout_id)
    assert await world.connect_hook(paid) == 200
    world.clock.go(HOUR)
    bounced = world.peer.bounce_payout(row.payout_id)
    assert [await world.connect_hook(bounced), await world.connect_hook({**bounced, "id": "evt_b"})] == [200, 200]
    after = await world.row(row.id)
    assert (after.status, after.payout_id, after.fee_refunded, after.refunded) == ("transferred", "", True, False)
    assert (await world.balance("ann")) == (30_500_000, 30_500_000, 0, 0)
    assert await world.connect_hook({**paid, "id": "evt_stale"}) == 200
    assert (await world.row(row.id)).status == "transferred", "a stale event must not claim a bounced row"
    payout = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(payout)) == 200
    after = await world.row(row.id)
    assert (after.status, after.sweep_payout_id, after.fee_refunded) == ("paid", payout, True)
    assert (await world.balance("ann")).balance == 30_500_000
    assert await world.connect_hook({**bounced, "id": "evt_late"}) == 200
    assert (await world.row(row.id)) == after, "a late copy of the bounce must not reopen what a sweep has paid"


@pytest.mark.parametrize("kind", ["payout.failed", "payout.canceled"])
async def test_events_of_an_instant_payout_in_any_order(world: World, kind: str) -> None:
    await world.payee("ann", earned=400_000_000, destination="card")
    for order in permutations((0, 1)):
        row = await withdrawn(world, method="instant")
        events = [world.peer.settle_payout(row.payout_id), world.peer.bounce_payout(row.payout_id, kind)]
        for at in (*order, *order):
            assert await world.connect_hook(events[at]) == 200
        after = await world.row(row.id)
        assert (after.status, after.fee_refunded, after.refunded) == ("transferred", True, False)
    fees = await world.rows("SELECT 1 FROM ledger_txns WHERE kind = 'withdraw_fee_refund'")
    assert len(fees) == 2


async def test_sweep_pays_every_row_that_had_arrived(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    early = [await withdrawn(world), await withdrawn(world)]
    payout = await sweep(world, connected)
    late = await withdrawn(world)
    event = world.peer.settle_payout(payout)
    assert [await world.connect_hook(event), await world.connect_hook({**event, "id": "evt_2"})] == [200, 200]
    for row in early:
        after = await world.row(row.id)
        assert (after.status, after.sweep_payout_id) == ("paid", payout)
    assert (await world.row(late.id)).status == "transferred"


async def test_sweep_leaves_rows_of_other_accounts_and_rows_with_their_own_payout(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000, destination="card")
    await world.payee("bob", earned=40_000_000)
    own = await withdrawn(world, method="instant")
    other = await world.payouts.withdrawals.withdraw("bob", gross_micro_usd=2_000_000, method="standard")
    world.peer.balances[connected] += 5
    payout = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(payout)) == 200
    assert ((await world.row(own.id)).status, (await world.row(other.row.id)).status) == ("transferred", "transferred")


async def test_money_of_recipients_arrives_a_day_later(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000, country="IN")
    row = await withdrawn(world)
    payout = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(payout)) == 200
    assert (await world.row(row.id)).status == "transferred"
    world.clock.go(24 * HOUR)
    world.peer.balances[connected] += 7
    assert await world.connect_hook(world.peer.settle_payout(await sweep(world, connected))) == 200
    assert (await world.row(row.id)).status == "paid"


async def test_country_of_an_unlinked_account_is_read_live(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000, country="IN")
    row = await withdrawn(world)
    await world.payouts.onboarding.unlink("ann")
    payout = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(payout)) == 200
    assert (await world.row(row.id)).status == "transferred"


async def test_bounced_sweep_reopens_exactly_its_rows(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    first = await withdrawn(world)
    one = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(one)) == 200
    second = await withdrawn(world)
    two = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(two)) == 200
    world.clock.go(HOUR)
    bounced = world.peer.bounce_payout(two)
    assert [await world.connect_hook(bounced), await world.connect_hook({**bounced, "id": "evt_b"})] == [200, 200]
    assert (await world.row(first.id)).status == "paid"
    after = await world.row(second.id)
    assert (after.status, after.sweep_payout_id, after.refunded) == ("transferred", "", False)
    three = await sweep(world, connected)
    assert await world.connect_hook(world.peer.settle_payout(three)) == 200
    assert (await world.row(second.id)).sweep_payout_id == three


async def test_stale_sweep_after_its_bounce_does_not_claim(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    payout = await sweep(world, connected)
    paid, bounced = world.peer.settle_payout(payout), world.peer.bounce_payout(payout)
    assert await world.connect_hook(bounced) == 200
    assert await world.connect_hook(paid) == 200
    assert (await world.row(row.id)).status == "transferred"


async def test_sweep_from_before_a_bounce_did_not_carry_the_row(world: World) -> None:
    """The money of a bounced instant payout comes back after the sweep was made: only a later one can carry it."""
    connected = await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, method="instant")
    world.peer.balances[connected] += 500
    early = world.peer.settle_payout(await sweep(world, connected))
    world.clock.go(HOUR)
    assert await world.connect_hook(world.peer.bounce_payout(row.payout_id)) == 200
    assert await world.connect_hook(early) == 200
    assert (await world.row(row.id)).status == "transferred"
    assert await world.connect_hook(world.peer.settle_payout(await sweep(world, connected))) == 200
    assert (await world.row(row.id)).status == "paid"


@pytest.mark.parametrize("status", ["pending", "in_transit", "canceled", "failed"])
async def test_sweep_that_is_not_paid_now_claims_nothing(world: World, status: str) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    payout = await sweep(world, connected)
    event = world.peer.settle_payout(payout)
    world.peer.payouts[payout]["status"] = status
    before = (await world.row(row.id)).updated_at
    assert await world.connect_hook(event) == 200
    after = await world.row(row.id)
    assert (after.status, after.updated_at) == ("transferred", before)


async def test_bounce_between_reading_and_marking_a_sweep(world: World) -> None:
    """The bank sends a sweep back, and its event is handled, while the event of its success is at work."""
    connected = await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    payout = await sweep(world, connected)
    paid = world.peer.settle_payout(payout)
    reads = 0

    def bounce_after_the_first_read(call: object) -> None:
        nonlocal reads
        if getattr(call, "path", "") == f"/v1/payouts/{payout}":
            reads += 1
            if reads == 2:
                world.peer.bounce_payout(payout)

    world.peer.on_call = bounce_after_the_first_read
    assert await world.connect_hook(paid) == 200
    after = await world.row(row.id)
    assert (after.status, after.sweep_payout_id, reads) == ("transferred", "", 2)


async def test_sweep_that_cannot_be_read_comes_again(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    event = world.peer.settle_payout(await sweep(world, connected))
    world.peer.plan("error_before", "/v1/payouts", method="GET")
    assert [await world.connect_hook(event), await world.connect_hook(event)] == [500, 200]
    assert (await world.row(row.id)).status == "paid"


async def test_manual_payouts_of_the_payee_are_ignored(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    made = world.peer._payout(connected, 1000, automatic=False, metadata={})
    assert await world.connect_hook(world.peer.settle_payout(made["id"])) == 200
    assert await world.connect_hook(world.peer.bounce_payout(made["id"])) == 200
    assert (await world.row(row.id)).status == "transferred"


async def test_payout_whose_id_we_never_learned_is_found_by_its_metadata(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    world.peer.plan("cut_after", "/v1/payouts", times=3)
    row = await withdrawn(world, method="instant")
    (payout,) = world.peer.payouts
    assert row.payout_id == ""
    assert await world.connect_hook(world.peer.settle_payout(payout)) == 200
    after = await world.row(row.id)
    assert (after.status, after.payout_id) == ("paid", payout)


async def test_bounce_of_a_payout_whose_id_we_never_learned(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    world.peer.plan("cut_after", "/v1/payouts", times=3)
    row = await withdrawn(world, method="instant")
    (payout,) = world.peer.payouts
    paid, bounced = world.peer.settle_payout(payout), world.peer.bounce_payout(payout)
    for event in (bounced, paid, bounced):
        assert await world.connect_hook(event) == 200
    after = await world.row(row.id)
    assert (after.status, after.fee_refunded, after.payout_id) == ("transferred", True, "")


async def test_payout_of_another_account_with_the_same_id_moves_nothing(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, method="instant")
    for event in (world.peer.settle_payout(row.payout_id), world.peer.bounce_payout(row.payout_id)):
        assert await world.connect_hook({**event, "account": "acct_other"}) == 200
    assert await world.row(row.id) == row


async def test_metadata_of_another_account_moves_nothing(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    stranger = world.peer.new_account(destination="card")
    world.peer.plan("cut_after", "/v1/payouts", times=3)
    row = await withdrawn(world, method="instant")
    world.peer.balances[stranger] = 5000
    forged = world.peer._payout(stranger, 100, automatic=False, metadata={"withdrawal_id": row.id})
    assert await world.connect_hook(world.peer.settle_payout(forged["id"])) == 200
    assert await world.connect_hook(world.peer.bounce_payout(forged["id"])) == 200
    after = await world.row(row.id)
    assert (after.status, after.payout_id, after.fee_refunded) == ("transferred", "", False)


async def test_reversal_returns_principal_and_fee_once(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, 33_340_000, "instant")
    event = world.peer.reverse(row.transfer_id)
    copies = [event, event, {**event, "id": "evt_r2"}]
    assert [await world.connect_hook(one) for one in copies] == [200] * 3
    assert await world.deposit_hook({**event, "id": "evt_r3"}) == 200
    after = await world.row(row.id)
    assert (after.status, after.refunded, after.fee_refunded) == ("failed", True, True)
    assert await world.balance("ann") == (40_000_000, 40_000_000, 0, 0)


async def test_reversal_is_delivered_to_our_own_endpoint(world: World) -> None:
    """Transfers belong to the platform: Stripe sends their events to the platform's endpoint."""
    await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    assert await world.deposit_hook(world.peer.reverse(row.transfer_id)) == 200
    assert (await world.balance("ann")).balance == 40_000_000


async def test_reversal_after_the_fee_came_back(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, 33_340_000, "instant")
    assert await world.connect_hook(world.peer.bounce_payout(row.payout_id)) == 200
    assert await world.connect_hook(world.peer.reverse(row.transfer_id)) == 200
    assert await world.balance("ann") == (40_000_000, 40_000_000, 0, 0)


async def test_partial_reversal_moves_no_money(world: World) -> None:
    await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    assert await world.connect_hook(world.peer.reverse(row.transfer_id, cents=100)) == 200
    assert (await world.row(row.id)).status == "transferred"
    assert world.meter.alerts == ["reversal_partial"]
    assert await world.connect_hook(world.peer.reverse(row.transfer_id)) == 200
    assert (await world.row(row.id)).status == "failed"


async def test_reversal_of_a_paid_row_moves_no_money(world: World) -> None:
    connected = await world.payee("ann", earned=40_000_000)
    row = await withdrawn(world)
    assert await world.connect_hook(world.peer.settle_payout(await sweep(world, connected))) == 200
    assert await world.connect_hook(world.peer.reverse(row.transfer_id)) == 200
    after = await world.row(row.id)
    assert (after.status, after.refunded, world.meter.alerts) == ("paid", False, ["reversal_of_paid_row"])
    assert (await world.balance("ann")).balance == 30_000_000


async def test_refunded_row_never_becomes_paid(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, method="instant")
    assert await world.connect_hook(world.peer.reverse(row.transfer_id)) == 200
    assert await world.connect_hook(world.peer.settle_payout(row.payout_id)) == 200
    assert (await world.row(row.id)).status == "failed"
    assert world.meter.alerts == ["payout_of_refunded_row"]
    assert await world.connect_hook(world.peer.bounce_payout(row.payout_id)) == 200
    assert (await world.balance("ann")).balance == 40_000_000


async def test_reversal_of_a_transfer_whose_id_we_never_learned(world: World) -> None:
    await world.payee("ann", earned=40_000_000)
    world.peer.plan("cut_after", "/v1/transfers", times=3)
    with pytest.raises(ApiError):
        await withdrawn(world)
    (transfer,) = world.peer.transfers
    assert await world.connect_hook(world.peer.reverse(transfer)) == 200
    row = await world.only_withdrawal()
    assert (row.status, row.refunded, row.transfer_id) == ("failed", True, transfer)
    assert (await world.balance("ann")).balance == 40_000_000
    await world.reconcile_after(HOUR)
    assert (await world.only_withdrawal()).status == "failed"


async def test_account_is_mirrored_as_it_is_now(world: World) -> None:
    connected = await world.payee("ann")
    old = world.peer.event("account.updated", world.peer.accounts[connected], account=connected)
    world.peer.accounts[connected]["requirements"]["disabled_reason"] = "rejected.fraud"
    assert await world.connect_hook(old) == 200
    (user,) = await world.rows("SELECT stripe_account_status FROM users")
    assert user["stripe_account_status"] == "rejected"


async def test_verified_account_becomes_ready_with_its_card(world: World) -> None:
    connected = await world.payee("ann")
    assert await world.connect_hook(world.peer.verify(connected, destination="card")) == 200
    (user,) = await world.rows("SELECT stripe_destination_type, stripe_instant_eligible FROM users")
    assert dict(user) == {"stripe_destination_type": "card", "stripe_instant_eligible": 1}


async def test_account_that_is_gone_is_unlinked(world: World) -> None:
    connected = await world.payee("ann")
    event = world.peer.event("account.updated", world.peer.accounts[connected], account=connected)
    world.peer.drop_account(connected)
    assert await world.connect_hook(event) == 200
    (user,) = await world.rows("SELECT stripe_account_id FROM users")
    assert user["stripe_account_id"] == ""


async def test_account_of_nobody_is_ignored(world: World) -> None:
    assert await world.connect_hook(world.peer.event("account.updated", {"id": "acct_x"}, account="acct_x")) == 200
    assert world.peer.calls == []


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"id": "evt_1", "type": "payout.paid"},
        {"id": "evt_1", "type": "payout.paid", "account": "acct_1", "data": {"object": {"id": 7}}},
        {"id": "evt_1", "type": "payout.paid", "account": None, "data": {"object": {"id": "po_1"}}},
        {"id": "evt_1", "type": "transfer.reversed", "data": {"object": {"id": "tr_none", "reversed": True}}},
        {"id": "evt_1", "type": "person.created", "data": {"object": {}}},
    ],
)
async def test_malformed_and_irrelevant_events_get_200(world: World, odd: Json) -> None:
    assert await world.connect_hook(odd) == 200


async def test_fifty_copies_of_a_reversal_and_a_bounce_at_once(world: World) -> None:
    await world.payee("ann", earned=40_000_000, destination="card")
    row = await withdrawn(world, 33_340_000, "instant")
    bounced, reversed_ = world.peer.bounce_payout(row.payout_id), world.peer.reverse(row.transfer_id)
    statuses: list[int] = []

    async def one(event: Json, copy: int) -> None:
        statuses.append(await world.connect_hook({**event, "id": f"evt_{copy}"}))

    async with trio.open_nursery() as nursery:
        for copy in range(50):
            nursery.start_soon(one, bounced if copy % 2 else reversed_, copy)
    assert statuses == [200] * 50
    assert await world.balance("ann") == (40_000_000, 40_000_000, 0, 0)
    assert await states(world) == ["failed"]
