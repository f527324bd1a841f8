"""Deposits: orders, payment pages, every event of a payment, and money that goes back to the customer."""

from __future__ import annotations

import pytest
import trio

from protocol.api.errors import ApiError
from server.payments.deposits import BegunDeposit
from server.payments.orders import Order, read_order
from server.store import StoreUnavailable
from tests.testbed.stripe_peer import Json
from tests.testbed.stripe_peer_faults import FaultKind
from tests.testbed.stripe_peer_world import HOST, World


async def begin(world: World, cents: int = 500, *, account: str = "ann", code: str = "") -> BegunDeposit:
    assert world.payments.deposits is not None
    return await world.payments.deposits.begin(account, cents=cents, referral_code=code)


async def order(world: World, order_id: str) -> Order:
    found = await world.store.read(lambda tx: read_order(tx, order_id))
    assert found is not None
    return found


async def deposits(world: World) -> list[tuple[str, int]]:
    rows = await world.rows(
        "SELECT e.account_id, e.amount_micro_usd FROM ledger_entries e JOIN ledger_txns t ON t.id = e.txn_id"
        " WHERE t.kind = 'deposit' ORDER BY e.id"
    )
    return [tuple(row.values()) for row in rows]  # type: ignore[misc]


async def test_order_is_written_first_then_the_page(world: World) -> None:
    seen: list[str] = []
    await world.person("ann")
    world.peer.on_call = lambda call: seen.append(call.form["metadata"]["billing_session_id"])  # type: ignore[index,arg-type]
    begun = await begin(world)
    assert seen == [begun.order.id]
    assert begun.url.endswith(begun.stripe_session_id)
    stored = await order(world, begun.order.id)
    assert (stored.status, stored.external_id, stored.amount_micro_usd) == (
        "pending",
        begun.stripe_session_id,
        5_000_000,
    )
    page = world.peer.sessions[begun.stripe_session_id]
    assert page["metadata"] == {
        "app": "darkbloom",
        "purchase_type": "inference_credits",
        "source": "coordinator",
        "coordinator_host": HOST,
        "billing_session_id": begun.order.id,
        "consumer_key": "ann",
        "referral_code": "",
    }
    call = world.peer.calls[0]
    assert call.key == f"cs-{begun.order.id}"
    assert call.form["success_url"] == (
        "https://console.example.test/billing?stripe_checkout_success=1&session_id={CHECKOUT_SESSION_ID}"
    )


@pytest.mark.parametrize(("cents", "word"), [(49, "smallest"), (0, "smallest"), (1_000_001, "largest")])
async def test_amounts_out_of_bounds(world: World, cents: int, word: str) -> None:
    with pytest.raises(ApiError, match=word) as caught:
        await begin(world, cents)
    assert (caught.value.status, caught.value.error_type) == (400, "invalid_request_error")
    assert world.peer.calls == []


@pytest.mark.parametrize("cents", [50, 1_000_000])
async def test_amounts_at_the_bounds(world: World, cents: int) -> None:
    assert (await begin(world, cents)).order.amount_micro_usd == cents * 10_000


@pytest.mark.parametrize("kind", ["rejected", "error_before", "cut_after"])
async def test_failed_page_fails_the_order(world: World, kind: FaultKind) -> None:
    world.peer.plan(kind, "/v1/checkout")
    with pytest.raises(ApiError) as caught:
        await begin(world)
    assert (caught.value.status, caught.value.error_type) == (502, "stripe_error")
    (row,) = await world.rows("SELECT status, external_id FROM billing_sessions")
    assert dict(row) == {"status": "failed", "external_id": ""}


async def test_orders_are_shown_to_their_owner_alone(world: World) -> None:
    begun = await begin(world)
    assert world.payments.deposits is not None
    assert (await world.payments.deposits.find("ann", begun.order.id)) is not None
    assert await world.payments.deposits.find("bob", begun.order.id) is None
    assert await world.payments.deposits.find("ann", "nothing") is None


async def test_paid_page_credits_what_cannot_be_withdrawn(world: World) -> None:
    begun = await begin(world)
    assert await world.deposit_hook(world.peer.pay(begun.stripe_session_id)) == 200
    assert await world.balance("ann") == (5_000_000, 0, 0, 0)
    assert await deposits(world) == [("sys:stripe_in", -5_000_000), ("ann", 5_000_000)]
    stored = await order(world, begun.order.id)
    assert stored.status == "completed"
    assert stored.completed_at is not None


async def test_fifty_copies_of_one_event_at_once_credit_once(world: World) -> None:
    begun = await begin(world)
    event = world.peer.pay(begun.stripe_session_id)
    statuses: list[int] = []

    async def one() -> None:
        statuses.append(await world.deposit_hook(event))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one)
    assert statuses == [200] * 50
    assert (await world.balance("ann")).balance == 5_000_000
    assert len(await world.rows("SELECT 1 FROM ledger_txns")) == 1
    assert len(await world.rows("SELECT 1 FROM stripe_events")) == 1


async def test_two_events_of_one_page_credit_once(world: World) -> None:
    begun = await begin(world)
    first = world.peer.pay(begun.stripe_session_id)
    second = world.peer.pay(begun.stripe_session_id, kind="checkout.session.async_payment_succeeded")
    assert await world.deposit_hook(second) == 200
    credited = await order(world, begun.order.id)
    assert [await world.deposit_hook(one) for one in (first, second)] == [200, 200]
    assert (await world.balance("ann")).balance == 5_000_000
    assert await order(world, begun.order.id) == credited
    assert ("deposits", "duplicate") in world.meter.hooks


async def test_unpaid_page_waits_for_its_payment(world: World) -> None:
    begun = await begin(world)
    assert await world.deposit_hook(world.peer.pay(begun.stripe_session_id, status="unpaid")) == 200
    assert (await order(world, begun.order.id)).status == "pending"
    assert (await world.balance("ann")).balance == 0
    paid = world.peer.pay(begun.stripe_session_id, kind="checkout.session.async_payment_succeeded")
    assert await world.deposit_hook(paid) == 200
    assert (await world.balance("ann")).balance == 5_000_000


@pytest.mark.parametrize(
    ("kind", "status"),
    [("checkout.session.expired", "expired"), ("checkout.session.async_payment_failed", "failed")],
)
async def test_pages_that_end_unpaid(world: World, kind: str, status: str) -> None:
    begun = await begin(world)
    assert await world.deposit_hook(world.peer.close(begun.stripe_session_id, kind)) == 200
    assert (await order(world, begun.order.id)).status == status
    # What Stripe says was paid is paid, in whatever order its events come.
    assert await world.deposit_hook(world.peer.pay(begun.stripe_session_id)) == 200
    assert await world.deposit_hook(world.peer.close(begun.stripe_session_id, kind)) == 200
    assert (await order(world, begun.order.id)).status == "completed"
    assert (await world.balance("ann")).balance == 5_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"amount_total": 499},
        {"amount_total": None},
        {"currency": "eur"},
        {"id": "cs_other"},
        {"metadata": {"consumer_key": "bob"}},
        {"metadata": {"consumer_key": None}},
    ],
)
async def test_payment_that_does_not_fit_its_order(world: World, change: Json) -> None:
    begun = await begin(world)
    event = world.peer.pay(begun.stripe_session_id)
    page = event["data"]["object"]
    metadata = {**page["metadata"], **change.get("metadata", {})}
    page |= {**change, "metadata": {name: value for name, value in metadata.items() if value is not None}}
    assert await world.deposit_hook(event) == 400
    assert world.meter.alerts == ["deposit_mismatch"]
    assert (await world.balance("ann")).balance == 0
    assert (await order(world, begun.order.id)).status == "pending"


async def test_metadata_alone_never_credits(world: World) -> None:
    page = {
        "id": "cs_x",
        "payment_status": "paid",
        "amount_total": 500,
        "currency": "usd",
        "metadata": {"app": "darkbloom", "coordinator_host": HOST, "billing_session_id": "x", "consumer_key": "ann"},
    }
    event = world.peer.event("checkout.session.completed", page)
    assert await world.deposit_hook(event) == 500
    assert world.meter.alerts == ["deposit_unknown_order"]
    assert await world.rows("SELECT 1 FROM ledger_txns") == []


@pytest.mark.parametrize("metadata", [{}, {"app": "shop"}, {"app": "darkbloom", "coordinator_host": "other.test"}])
async def test_payments_of_others_on_the_same_account_are_ignored(world: World, metadata: Json) -> None:
    page = {"id": "cs_x", "payment_status": "paid", "amount_total": 500, "currency": "usd", "metadata": metadata}
    assert await world.deposit_hook(world.peer.event("checkout.session.completed", page)) == 200
    assert world.meter.alerts == []


async def test_bad_deliveries(world: World) -> None:
    begun = await begin(world)
    event = world.peer.pay(begun.stripe_session_id)
    desk = world.payments.deposit_hooks
    assert desk is not None
    body, header = world.peer.signed(event, "whsec_test_secret")
    assert await desk.receive(body + b" ", header) == 400
    assert await desk.receive(body, "") == 400
    assert await desk.receive(*world.peer.signed(event, "whsec_connect_secret")) == 400
    world.clock.go(301)
    assert await desk.receive(body, header) == 400
    for odd in ({"id": 5}, {"id": "evt_x", "type": "charge.refunded", "data": {"object": []}}):
        assert await desk.receive(*world.peer.signed(odd, "whsec_test_secret")) == 400
    assert (await world.balance("ann")).balance == 0
    assert await world.deposit_hook(event) == 200
    assert (await world.balance("ann")).balance == 5_000_000


async def test_secret_of_before_a_rotation_is_good(world: World) -> None:
    begun = await begin(world)
    desk = world.payments.deposit_hooks
    assert desk is not None
    event = world.peer.pay(begun.stripe_session_id)
    assert await desk.receive(*world.peer.signed(event, "whsec_before_rotation")) == 200
    assert (await world.balance("ann")).balance == 5_000_000


async def test_other_events_are_ignored_and_not_kept(world: World) -> None:
    assert await world.deposit_hook(world.peer.event("customer.created", {"id": "cus_1"})) == 200
    assert await world.rows("SELECT 1 FROM stripe_events") == []


class Codes:
    """Referral codes of which one is known."""

    def __init__(self) -> None:
        self.applied: list[tuple[str, str]] = []
        self.broken = False

    async def is_known(self, code: str) -> bool:
        return code.upper() == "FRIEND"

    async def apply(self, account_id: str, code: str) -> None:
        if self.broken:
            raise StoreUnavailable("The database does not answer.")
        self.applied.append((account_id, code))


async def test_referral_code_is_applied_after_the_credit(world: World) -> None:
    codes = Codes()
    assert world.payments.deposits is not None
    world.payments.deposits._referrals = codes
    with pytest.raises(ApiError) as caught:
        await begin(world, code="NOBODY")
    assert (caught.value.status, caught.value.param) == (400, "referral_code")
    begun = await begin(world, code="friend")
    event = world.peer.pay(begun.stripe_session_id)
    codes.broken = True
    assert await world.deposit_hook(event) == 500
    assert (await world.balance("ann")).balance == 5_000_000
    codes.broken = False
    assert await world.deposit_hook(event) == 200
    assert codes.applied == [("ann", "friend")]
    assert (await world.balance("ann")).balance == 5_000_000


async def test_referral_codes_need_a_directory(world: World) -> None:
    with pytest.raises(ApiError, match="referral code"):
        await begin(world, code="FRIEND")


async def paid(world: World, cents: int = 500) -> str:
    begun = await begin(world, cents)
    await world.deposit_hook(world.peer.pay(begun.stripe_session_id))
    return begun.stripe_session_id


async def outcomes(world: World) -> list[str]:
    return [
        str(row["outcome"])
        for row in await world.rows("SELECT outcome FROM stripe_events WHERE type LIKE 'charge%' ORDER BY event_id")
    ]


async def test_refund_takes_the_credits_back_once(world: World) -> None:
    page = await paid(world)
    event = world.peer.refund(page, total_cents=500)
    assert [await world.deposit_hook(event), await world.deposit_hook({**event, "id": "evt_again"})] == [200, 200]
    assert await world.balance("ann") == (0, 0, 0, 0)
    assert world.meter.alerts == ["charge_refunded"]


async def test_partial_refunds_add_up_in_any_order(world: World) -> None:
    page = await paid(world)
    first = world.peer.refund(page, total_cents=200)
    second = world.peer.refund(page, total_cents=450, before_cents=200)
    assert [await world.deposit_hook(one) for one in (second, first, second, first)] == [200] * 4
    assert (await world.balance("ann")).balance == 500_000


async def test_refund_never_touches_earnings_holds_or_zero(world: World) -> None:
    page = await paid(world)
    await world.grant("ann", "admin_reward", 3_000_000, 3_000_000)
    await world.store.write(
        lambda tx: tx.execute("UPDATE balances SET held_micro_usd = 1000000 WHERE account_id = 'ann'")
    )
    assert await world.deposit_hook(world.peer.refund(page, total_cents=500)) == 200
    assert await world.balance("ann") == (4_000_000, 3_000_000, 1_000_000, 0)
    assert await outcomes(world) == ["took 4000000, missing 1000000"]


async def test_refund_without_credits_is_still_recorded(world: World) -> None:
    page = await paid(world)
    await world.store.write(
        lambda tx: tx.execute("UPDATE balances SET held_micro_usd = 5000000 WHERE account_id = 'ann'")
    )
    event = world.peer.refund(page, total_cents=500)
    assert [await world.deposit_hook(event), await world.deposit_hook({**event, "id": "evt_again"})] == [200, 200]
    assert (await world.balance("ann")).balance == 5_000_000
    assert world.meter.alerts == ["charge_refunded"]


async def test_refund_before_the_credit_comes_again(world: World) -> None:
    begun = await begin(world)
    payment = world.peer.pay(begun.stripe_session_id)
    refund = world.peer.refund(begun.stripe_session_id, total_cents=500)
    assert await world.deposit_hook(refund) == 500
    assert await world.deposit_hook(payment) == 200
    assert await world.deposit_hook(refund) == 200
    assert (await world.balance("ann")).balance == 0


async def test_refund_of_more_than_the_order_takes_the_order_alone(world: World) -> None:
    page = await paid(world)
    await paid(world, 1000)
    await world.deposit_hook(world.peer.refund(page, total_cents=99_999))
    assert (await world.balance("ann")).balance == 10_000_000


async def test_dispute_takes_the_credits_back_once(world: World) -> None:
    page = await paid(world)
    event = world.peer.dispute(page, 500)
    world.peer.plan("error_before", "/v1/payment_intents", method="GET")
    assert [await world.deposit_hook(event) for _ in range(3)] == [500, 200, 200]
    assert (await world.balance("ann")).balance == 0
    assert world.meter.alerts == ["charge_disputed"]


async def test_refund_of_a_payment_of_others_is_nothing(world: World) -> None:
    charge = {"id": "ch_x", "amount_refunded": 500, "metadata": {"billing_session_id": "none"}}
    assert await world.deposit_hook(world.peer.event("charge.refunded", charge)) == 200
    assert world.meter.alerts == []
    assert await world.rows("SELECT 1 FROM ledger_txns") == []


async def test_refund_and_dispute_of_one_payment_take_its_amount_once(world: World) -> None:
    page = await paid(world)
    await paid(world, 1000)
    await world.deposit_hook(world.peer.refund(page, total_cents=300))
    await world.deposit_hook(world.peer.dispute(page, 500))
    assert (await world.balance("ann")).balance == 10_000_000
    assert world.meter.alerts == ["charge_refunded", "charge_disputed"]
