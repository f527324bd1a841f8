"""The real Stripe library over the peer: what is sent, what each failure proves, and a run over real sockets."""

from __future__ import annotations

import httpx
import pytest
import stripe
import trio
import trio.testing

from protocol.settings import Secret
from server.payments.failures import StripeRejected, StripeUnclear
from server.payments.stripe_api import CheckoutOrder, NewAccount, TransferOrder
from server.payments.stripe_client import StripeClient
from server.payments.stripe_http import StripeHttp
from tests.testbed.stripe_peer import StripePeer
from tests.testbed.stripe_peer_faults import FaultKind
from tests.testbed.stripe_peer_http import PeerTransport, serve_peer

ORDER = CheckoutOrder(
    order_id="o-1",
    cents=500,
    email="ann@example.test",
    success_url="https://c.test/ok?session_id={CHECKOUT_SESSION_ID}",
    cancel_url="https://c.test/no",
    metadata={"app": "darkbloom", "billing_session_id": "o-1"},
)


def peer_and_client(*, retries: int = 2) -> tuple[StripePeer, StripeClient]:
    peer = StripePeer(lambda: 1_800_000_000.0)
    http = StripeHttp(transport=PeerTransport(peer))
    return peer, StripeClient(Secret("sk_test_1"), api_url="http://stripe.peer/", http=http, network_retries=retries)


def transfer(destination: str, cents: int = 700) -> TransferOrder:
    return TransferOrder(withdrawal_id="w-1", stripe_account_id=destination, cents=cents)


async def test_checkout_has_amount_card_and_metadata_on_both() -> None:
    peer, client = peer_and_client()
    page = await client.create_checkout(ORDER)
    assert page.url == peer.sessions[page.id]["url"]
    (call,) = peer.calls
    assert call.key == "cs-o-1"
    assert call.form["mode"] == "payment"
    assert call.form["allowed_payment_method_types"] == {"0": "card"}
    assert call.form["customer_email"] == "ann@example.test"
    assert call.form["metadata"] == dict(ORDER.metadata)
    assert call.form["payment_intent_data"] == {"metadata": dict(ORDER.metadata)}
    assert await client.payment_metadata(f"pi_{page.id}") == dict(ORDER.metadata)


@pytest.mark.parametrize(
    ("country", "agreement", "interval"),
    [("US", "full", "daily"), ("IN", "recipient", "daily"), ("JP", "recipient", "weekly")],
)
async def test_account_has_agreement_capabilities_and_schedule(country: str, agreement: str, interval: str) -> None:
    peer, client = peer_and_client()
    new = NewAccount(account_id="ann", email="", country=country, agreement=agreement, nonce="n")  # type: ignore[arg-type]
    account = await client.create_account(new)
    form = peer.calls[-1].form
    assert (form["type"], form["business_type"], form["country"]) == ("express", "individual", country)
    if agreement == "recipient":
        assert form["tos_acceptance"] == {"service_agreement": "recipient"}
        assert form["capabilities"] == {"transfers": {"requested": "true"}}
    else:
        assert "tos_acceptance" not in form
        assert form["capabilities"] == {"transfers": {"requested": "true"}, "card_payments": {"requested": "true"}}
    assert peer.accounts[account.id]["settings"]["payouts"]["schedule"]["interval"] == interval
    assert "email" not in form


async def test_links_lead_to_pages_of_stripe() -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    url = await client.onboarding_url(name, return_url="https://c.test/r", refresh_url="https://c.test/f")
    assert url.endswith(name)
    form = peer.calls[-1].form
    assert (form["type"], form["return_url"], form["refresh_url"]) == (
        "account_onboarding",
        "https://c.test/r",
        "https://c.test/f",
    )
    assert form["collection_options"] == {"fields": "eventually_due"}
    assert (await client.dashboard_url(name)).endswith(name)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("cut_before", "no answer"),
        ("cut_after", "no answer"),
        ("error_before", "status 503"),
        ("error_after", "status 502"),
        ("error_saved", "status 500"),
        ("busy", "the key is in use"),
    ],
)
async def test_unclear_failures(kind: FaultKind, why: str) -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    peer.plan(kind, "/v1/transfers")
    with pytest.raises(StripeUnclear) as caught:
        await client.create_transfer(transfer(name))
    assert caught.value.why == why
    assert len(peer.calls) == 1, "a transfer is never repeated behind our back"


async def test_definitive_failures() -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    for kind, code in (("rejected", "parameter_invalid"), ("rate_limited", "rate_limit")):
        peer.plan(kind, "/v1/transfers")  # type: ignore[arg-type]
        with pytest.raises(StripeRejected) as caught:
            await client.create_transfer(transfer(name))
        assert caught.value.code == code
    with pytest.raises(StripeRejected) as gone:
        await client.account("acct_none")
    assert (gone.value.status, gone.value.is_gone) == (403, True)
    with pytest.raises(StripeRejected) as poor:
        await client.create_transfer(transfer(name, peer.platform_cents + 1))
    assert (poor.value.code, poor.value.is_gone, poor.value.is_agreement) == ("balance_insufficient", False, False)


async def test_reused_key_with_other_parameters_is_unclear() -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    await client.create_transfer(transfer(name))
    with pytest.raises(StripeUnclear, match="other parameters"):
        await client.create_transfer(transfer(name, 701))
    assert len(peer.transfers) == 1


async def test_same_call_twice_gets_one_answer() -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    first = await client.create_transfer(transfer(name))
    assert await client.create_transfer(transfer(name)) == first
    assert peer.balances[name] == 700


async def test_deleted_account_is_gone() -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    peer.accounts[name]["deleted"] = True
    with pytest.raises(StripeRejected) as caught:
        await client.account(name)
    assert caught.value.is_gone


async def test_reading_is_repeated_by_the_library(autojump_clock: trio.testing.MockClock) -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    peer.plan("cut_before", "/v1/accounts", method="GET")
    peer.plan("error_before", "/v1/accounts", method="GET")
    assert (await client.account(name)).id == name
    assert len(peer.calls) == 3
    peer.plan("cut_before", "/v1/accounts", method="GET", times=3)
    with pytest.raises(StripeUnclear):
        await client.account(name)


async def test_creation_keeps_its_key_over_repeats(autojump_clock: trio.testing.MockClock) -> None:
    peer, client = peer_and_client()
    peer.plan("cut_after", "/v1/checkout")
    await client.create_checkout(ORDER)
    assert [call.key for call in peer.calls] == ["cs-o-1", "cs-o-1"]
    assert len(peer.sessions) == 1


async def test_answer_of_another_shape_is_unclear() -> None:
    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"object": "transfer", "id": 5})

    client = StripeClient(Secret("sk_test_1"), http=StripeHttp(transport=Odd()), network_retries=0)
    with pytest.raises(StripeUnclear, match="unreadable"):
        await client.create_transfer(transfer("acct_1"))


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (502, b"<html>bad gateway"), (400, b"no json"), (302, b"")]
)
async def test_answers_that_are_no_json(status: int, body: bytes) -> None:
    class Odd(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(status, content=body)

    client = StripeClient(Secret("sk_test_1"), http=StripeHttp(transport=Odd()), network_retries=0)
    with pytest.raises((StripeUnclear, StripeRejected)) as caught:
        await client.create_transfer(transfer("acct_1"))
    assert isinstance(caught.value, StripeUnclear), "only an error that Stripe itself wrote proves anything"


async def test_over_real_sockets() -> None:
    peer = StripePeer(lambda: 1_800_000_000.0)
    name = peer.new_account(destination="card")
    async with serve_peer(peer) as url:
        client = StripeClient(Secret("sk_test_1"), api_url=url, network_retries=0)
        moved = await client.create_transfer(transfer(name))
        payout = await client.create_instant_payout(transfer(name))
        assert (await client.payout(name, payout.id)).status == "pending"
        peer.plan("cut_after", "/v1/transfers")
        with pytest.raises(StripeUnclear):
            await client.create_transfer(TransferOrder(withdrawal_id="w-2", stripe_account_id=name, cents=5))
        await client.aclose()
    assert (moved.destination, len(peer.transfers), peer.balances[name]) == (name, 2, 5)
    assert peer.calls[1].account == name


async def test_blocking_calls_are_refused() -> None:
    with pytest.raises(RuntimeError, match="_async"):
        stripe.StripeClient("sk_test_1", http_client=StripeHttp()).v1.transfers.retrieve("tr_1")


async def test_failures_hold_nothing_of_the_call() -> None:
    peer, client = peer_and_client()
    peer.plan("rejected", "/v1/checkout", code="email_invalid")
    with pytest.raises(StripeRejected) as caught:
        await client.create_checkout(ORDER)
    shown = repr(caught.value) + str(caught.value)
    assert "ann@" not in shown
    assert "sk_test" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_key_at_work_is_in_use(autojump_clock: trio.testing.MockClock) -> None:
    peer, client = peer_and_client()
    name = peer.new_account()
    peer.plan("delay", "/v1/transfers", seconds=5.0)
    outcomes: list[str] = []

    async def one() -> None:
        try:
            outcomes.append((await client.create_transfer(transfer(name))).id)
        except StripeUnclear as unclear:
            outcomes.append(unclear.why)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(one)
    (made,) = peer.transfers
    assert outcomes == ["the key is in use", made]


async def test_slow_answer_is_no_answer() -> None:
    peer = StripePeer(lambda: 1_800_000_000.0)

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ReadTimeout("30 seconds are over", request=request)

    client = StripeClient(Secret("sk_test_1"), http=StripeHttp(transport=Slow()), network_retries=0)
    with pytest.raises(StripeUnclear, match="no answer"):
        await client.create_transfer(transfer(peer.new_account()))
