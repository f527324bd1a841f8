"""The HTTP side of payments: guards, shapes, errors, limits, and webhooks over real sockets in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from quart import request

from protocol.api.errors import ApiError
from server.accounts import Identity
from server.accounts.guards import require_user_session
from server.api.deposits import DepositServices, deposits_blueprint
from server.api.payouts import PayoutServices, payouts_blueprint
from server.api.stripe_webhooks import StripeWebhookServices, stripe_webhooks_blueprint
from server.config import CoordinatorSettings
from server.limits import Admission, Rate, RequestLimiter, TierRates
from server.observe import Metrics
from server.payments.open import Payments
from server.serve.app import build_app
from server.serve.drain import Drain
from server.store import Store, StoreUnavailable
from tests.testbed.stripe_peer_world import CONNECT_SECRET, HOOK_SECRET, World, open_world

OFF = Rate(0, 0)


class Gate:
    """Takes the bearer token for the account: `session:ann`, `key:ann`, `ownerless:x`, `admin`."""

    def __init__(self, financial: Rate) -> None:
        rates = TierRates(consumer=OFF, service=OFF, financial=financial)
        self.limiter = RequestLimiter(rates, clock=lambda: 0.0, wall_clock=lambda: 1_800_000_000.0)

    async def caller(self) -> Identity:
        """See PaymentGate."""
        await trio.lowlevel.checkpoint()
        kind, _, name = request.headers.get("Authorization", "").removeprefix("Bearer ").partition(":")
        match kind:
            case "session":
                return Identity(account_id=name, key_id="", credential="jwt", has_user=True)
            case "key":
                return Identity(account_id=name, key_id="key_1", credential="key", has_user=True)
            case "ownerless":
                return Identity(account_id=name, key_id="key_2", credential="key")
            case "admin":
                return Identity(account_id="admin", key_id="", credential="admin_key", is_admin=True, covered=True)
        raise ApiError(401, "authentication_error", "An API key is needed.")

    async def person(self) -> Identity:
        """See PaymentGate."""
        return require_user_session(await self.caller())

    async def person_within_limit(self) -> tuple[Identity, Admission]:
        """See PaymentGate."""
        found = await self.person()
        return found, self.limiter.financial(found)


class Site:
    """The application with the three blueprints."""

    def __init__(self, store: Store, payments: Payments, *, financial: Rate = OFF, share: int | None = 20) -> None:
        gate = Gate(financial)
        self.app = build_app(
            CoordinatorSettings(),
            metrics=Metrics(),
            drain=Drain(),
            blueprints=[
                deposits_blueprint(
                    DepositServices(gate=gate, deposits=payments.deposits, store=store, referral_share_percent=share)
                ),
                payouts_blueprint(PayoutServices(gate=gate, payouts=payments.payouts)),
                stripe_webhooks_blueprint(
                    StripeWebhookServices(deposit_hooks=payments.deposit_hooks, connect_hooks=payments.connect_hooks)
                ),
            ],
        )
        self.client = self.app.test_client()

    async def ask(
        self, method: str, path: str, *, by: str = "session:ann", body: object = None, **headers: str
    ) -> tuple[int, Any]:
        """Return status and parsed body."""
        sent = {"Authorization": f"Bearer {by}", **{name.replace("_", "-"): one for name, one in headers.items()}}
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        response = await self.client.open(  # type: ignore[call-arg]
            path, method=method, headers=sent, data=data
        )
        text = await response.get_data(as_text=True)
        return response.status_code, json.loads(text) if response.is_json else text


@pytest.fixture
def site(world: World) -> Site:
    return Site(world.store, world.payments)


def code(answer: tuple[int, Any]) -> tuple[int, str, str]:
    status, body = answer
    return status, body["error"]["type"], body["error"]["code"]


async def test_methods(site: Site, world: World) -> None:
    assert await site.ask("GET", "/v1/billing/methods", by="") == (
        200,
        {
            "methods": [
                {
                    "method": "stripe",
                    "display_name": "Card",
                    "currencies": ["USD"],
                    "min_usd": "0.50",
                    "max_usd": "10000.00",
                }
            ],
            "referral": {"enabled": True, "share_percent": 20},
        },
    )
    off = Site(world.store, Payments(), share=None)
    assert await off.ask("GET", "/v1/billing/methods", by="") == (
        200,
        {"methods": [], "referral": {"enabled": False, "share_percent": 0}},
    )


@pytest.mark.parametrize("by", ["session:ann", "key:ann", "ownerless:ann"])
async def test_deposit_from_page_to_balance(site: Site, world: World, by: str) -> None:
    body = {"amount_usd": "5.00", "email": "ann@example.test"}
    status, made = await site.ask("POST", "/v1/billing/stripe/create-session", by=by, body=body)
    assert status == 200
    assert set(made) == {"session_id", "stripe_session", "url", "amount_usd", "amount_micro_usd"}
    assert (made["amount_usd"], made["amount_micro_usd"]) == ("5.00", 5_000_000)
    path = f"/v1/billing/stripe/session?id={made['session_id']}"
    status, seen = await site.ask("GET", path, by=by)
    assert (status, seen["status"], seen["completed_at"]) == (200, "pending", None)
    assert set(seen) == {
        "session_id",
        "payment_method",
        "amount_micro_usd",
        "status",
        "created_at",
        "completed_at",
    }
    event, header = world.peer.signed(world.peer.pay(made["stripe_session"]), HOOK_SECRET)
    hook = "/v1/billing/stripe/webhook"
    assert await site.ask("POST", hook, by="", body=event, Stripe_Signature=header) == (200, "")
    status, seen = await site.ask("GET", path, by=by)
    assert (seen["status"], seen["completed_at"][-1]) == ("completed", "Z")
    assert await site.ask("GET", "/v1/billing/wallet/balance", by=by) == (200, {"credit_balance_micro_usd": 5_000_000})
    assert (await site.ask("GET", path, by="key:bob"))[0] == 404


@pytest.mark.parametrize(
    "amount",
    ["1.005", "-1", "abc", "", "1e9", "0", "0.49", "10000.01", None, True, 0.001, [], "0.50 USD", "NaN", "Infinity"],
)
async def test_amounts_that_are_refused(site: Site, world: World, amount: object) -> None:
    for path in ("/v1/billing/stripe/create-session", "/v1/billing/withdraw/stripe"):
        answer = await site.ask("POST", path, body={"amount_usd": amount})
        if path.endswith("create-session") or amount not in ("0.49", "10000.01"):
            assert code(answer)[:2] == (400, "invalid_request_error")
            assert answer[1]["error"]["param"] == "amount_usd"
    assert world.peer.sessions == {}


@pytest.mark.parametrize(("amount", "cents"), [("1.15", 115), ("19.99", 1999), (0.57, 57), (5, 500), ("0.5", 50)])
async def test_amounts_are_exact(site: Site, world: World, amount: object, cents: int) -> None:
    status, _ = await site.ask("POST", "/v1/billing/stripe/create-session", body={"amount_usd": amount})
    assert status == 200
    (page,) = world.peer.sessions.values()
    assert page["amount_total"] == cents


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"amount_usd":"5.00","email":5}',
        b'{"amount_usd":"5.00","email":"no address"}',
        b'{"amount_usd":"5.00","referral_code":"NOBODY"}',
    ],
)
async def test_bodies_that_are_refused(site: Site, body: bytes) -> None:
    assert code(await site.ask("POST", "/v1/billing/stripe/create-session", body=body))[:2] == (
        400,
        "invalid_request_error",
    )


async def test_deposits_need_a_caller_with_a_balance(site: Site) -> None:
    path, body = "/v1/billing/stripe/create-session", {"amount_usd": "5.00"}
    assert code(await site.ask("POST", path, by="", body=body))[0] == 401
    assert code(await site.ask("POST", path, by="admin", body=body))[:2] == (403, "forbidden")


async def test_sessions_need_an_id(site: Site) -> None:
    assert code(await site.ask("GET", "/v1/billing/stripe/session"))[0] == 400
    for odd in ("%00", "x", "%C3%A9"):
        assert code(await site.ask("GET", f"/v1/billing/stripe/session?id={odd}"))[0] == 404


async def test_stripe_failure_is_502(site: Site, world: World) -> None:
    world.peer.plan("error_before", "/v1/checkout")
    answer = await site.ask("POST", "/v1/billing/stripe/create-session", body={"amount_usd": "5.00"})
    assert code(answer)[:2] == (502, "stripe_error")


async def test_everything_off(world: World) -> None:
    off = Site(world.store, Payments())
    assert await off.ask("GET", "/v1/billing/stripe/status") == (200, {"has_account": False, "configured": False})
    for method, path in (
        ("POST", "/v1/billing/stripe/create-session"),
        ("GET", "/v1/billing/stripe/session?id=x"),
        ("POST", "/v1/billing/stripe/onboard"),
        ("POST", "/v1/billing/stripe/dashboard"),
        ("DELETE", "/v1/billing/stripe/account"),
        ("GET", "/v1/billing/stripe/withdrawals"),
        ("POST", "/v1/billing/withdraw/stripe"),
        ("POST", "/v1/billing/stripe/webhook"),
        ("POST", "/v1/billing/stripe/connect/webhook"),
    ):
        assert code(await off.ask(method, path, body={}))[:2] == (503, "billing_error"), path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/billing/stripe/onboard"),
        ("POST", "/v1/billing/stripe/dashboard"),
        ("DELETE", "/v1/billing/stripe/account"),
        ("POST", "/v1/billing/withdraw/stripe"),
    ],
)
async def test_what_moves_money_needs_a_person(site: Site, world: World, method: str, path: str) -> None:
    await world.payee("ann", earned=5_000_000)
    for by, status in (("", 401), ("key:ann", 403), ("ownerless:x", 403), ("admin", 403)):
        assert (await site.ask(method, path, by=by, body={"amount_usd": "2.00"}))[0] == status
    assert world.peer.calls == []


async def test_status_and_list_need_a_user(site: Site, world: World) -> None:
    await world.payee("ann")
    for path in ("/v1/billing/stripe/status", "/v1/billing/stripe/withdrawals"):
        assert (await site.ask("GET", path, by="key:ann"))[0] == 200
        assert code(await site.ask("GET", path, by="ownerless:x"))[:2] == (401, "auth_error")


async def test_onboarding_to_status_to_unlinking(site: Site, world: World) -> None:
    await world.person("ann")
    status, begun = await site.ask("POST", "/v1/billing/stripe/onboard", body={"country": "US"})
    assert (status, set(begun), begun["status"]) == (200, {"url", "stripe_account_id", "status"}, "pending")
    world.peer.verify(begun["stripe_account_id"], destination="card")
    status, seen = await site.ask("GET", "/v1/billing/stripe/status?refresh=1")
    assert (status, seen) == (
        200,
        {
            "has_account": True,
            "configured": True,
            "stripe_account_id": begun["stripe_account_id"],
            "status": "ready",
            "stripe_account_country": "US",
            "destination_type": "card",
            "destination_last4": "4242",
            "instant_eligible": True,
            "min_withdraw_micro_usd": 1_000_000,
            "instant_fee_bps": 150,
            "instant_fee_min_usd": 0.5,
            "currently_due": [],
        },
    )
    assert "currently_due" not in (await site.ask("GET", "/v1/billing/stripe/status"))[1]
    assert (await site.ask("POST", "/v1/billing/stripe/dashboard"))[1]["url"].startswith("https://")
    unlink = "/v1/billing/stripe/account"
    assert await site.ask("DELETE", unlink) == (200, {"unlinked": True})
    assert await site.ask("DELETE", unlink) == (200, {"unlinked": False})
    assert (await site.ask("GET", "/v1/billing/stripe/status"))[1]["has_account"] is False


async def test_foreign_return_url(site: Site, world: World) -> None:
    await world.person("ann")
    body = {"country": "US", "return_url": "https://evil.test/"}
    answer = await site.ask("POST", "/v1/billing/stripe/onboard", body=body)
    assert (answer[0], answer[1]["error"]["param"]) == (400, "return_url")


async def test_withdrawal_and_its_repetition(site: Site, world: World) -> None:
    await world.payee("ann", earned=50_000_000, destination="card")
    path, body = "/v1/billing/withdraw/stripe", {"amount_usd": "33.34", "method": "instant"}
    status, answer = await site.ask("POST", path, body=body, Idempotency_Key="k-1")
    row = await world.only_withdrawal()
    assert (status, answer) == (
        200,
        {
            "status": "transferred",
            "withdrawal_id": row.id,
            "transfer_id": row.transfer_id,
            "payout_id": row.payout_id,
            "arrival_unix": world.peer.payouts[row.payout_id]["arrival_date"],
            "amount_usd": "33.34",
            "fee_usd": "0.50",
            "net_usd": "32.83",
            "method": "instant",
            "eta": "~30 minutes",
            "message": "The money is on its way to your card.",
            "balance_micro_usd": 16_660_000,
        },
    )
    assert (await site.ask("POST", path, body=body, Idempotency_Key="k-1")) == (status, answer)
    conflict = await site.ask("POST", path, body={"amount_usd": "2.00"}, Idempotency_Key="k-1")
    assert code(conflict) == (409, "idempotency_conflict", "idempotency_conflict")
    status, listed = await site.ask("GET", "/v1/billing/stripe/withdrawals")
    (shown,) = listed["withdrawals"]
    assert (status, shown["id"], shown["amount_micro_usd"], shown["fee_micro_usd"], shown["refunded"]) == (
        200,
        row.id,
        33_340_000,
        500_100,
        False,
    )
    assert set(shown) >= {"transfer_id", "payout_id", "net_micro_usd", "method", "status", "failure_reason"}
    assert shown["created_at"].endswith("Z")


async def test_withdrawal_whose_payout_failed_is_202(site: Site, world: World) -> None:
    await world.payee("ann", earned=50_000_000, destination="card")
    world.peer.plan("rejected", "/v1/payouts")
    status, answer = await site.ask(
        "POST", "/v1/billing/withdraw/stripe", body={"amount_usd": "10.00", "method": "instant"}
    )
    assert (status, answer["status"], answer["fee_usd"], answer["balance_micro_usd"]) == (
        202,
        "transferred",
        "0.00",
        40_500_000,
    )
    assert "payout_id" not in answer


async def test_withdrawal_refusals(site: Site, world: World) -> None:
    path = "/v1/billing/withdraw/stripe"
    await world.payee("ann", earned=5_000_000)
    assert code(await site.ask("POST", path, body={"amount_usd": "0.99"}))[0] == 400
    assert code(await site.ask("POST", path, body={"amount_usd": "5.01"}))[2] == "insufficient_withdrawable"
    wrong = await site.ask("POST", path, body={"amount_usd": "2.00", "method": "wire"})
    assert (wrong[0], wrong[1]["error"]["param"]) == (400, "method")
    answer = await site.ask("POST", path, body={"amount_usd": "2.00", "method": "instant"})
    assert code(answer) == (400, "invalid_request_error", "instant_unavailable")
    for key in ("x" * 256, "k\x7f"):
        assert code(await site.ask("POST", path, body={"amount_usd": "2.00"}, Idempotency_Key=key))[0] == 400
    world.peer.plan("cut_before", "/v1/transfers", times=3)
    answer = await site.ask("POST", path, body={"amount_usd": "2.00"})
    assert code(answer) == (502, "stripe_error", "outcome_unconfirmed")


@pytest.mark.parametrize(("query", "rows"), [("", 3), ("?limit=2", 2), ("?limit=999", 3)])
async def test_list_is_bounded(site: Site, world: World, query: str, rows: int) -> None:
    await world.payee("ann", earned=50_000_000)
    for _ in range(3):
        await world.payouts.withdrawals.withdraw("ann", gross_micro_usd=1_000_000, method="standard")
    _, listed = await site.ask("GET", f"/v1/billing/stripe/withdrawals{query}")
    assert len(listed["withdrawals"]) == rows
    times = [one["created_at"] for one in listed["withdrawals"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1" * 20, "%EF%BC%91"])
async def test_bad_limits(site: Site, limit: str) -> None:
    assert code(await site.ask("GET", f"/v1/billing/stripe/withdrawals?limit={limit}"))[0] == 400


async def test_financial_limit(world: World) -> None:
    limited = Site(world.store, world.payments, financial=Rate(1, 2))
    await world.payee("ann", earned=5_000_000)
    path = "/v1/billing/stripe/create-session"
    statuses = [(await limited.ask("POST", path, body={"amount_usd": "5.00"}))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await limited.ask("POST", "/v1/billing/withdraw/stripe", body={"amount_usd": "2.00"}))[0] == 429
    assert (await limited.ask("GET", "/v1/billing/stripe/status?refresh=1"))[0] == 429
    assert (await limited.ask("GET", "/v1/billing/stripe/status"))[0] == 200


async def test_webhooks_believe_only_signatures(site: Site, world: World) -> None:
    event = world.peer.event("account.updated", {"id": "acct_1"}, account="acct_1")
    for path, good, bad in (
        ("/v1/billing/stripe/webhook", HOOK_SECRET, CONNECT_SECRET),
        ("/v1/billing/stripe/connect/webhook", CONNECT_SECRET, HOOK_SECRET),
    ):
        body, header = world.peer.signed(event, good)
        assert await site.ask("POST", path, by="", body=body, Stripe_Signature=header) == (200, "")
        assert (await site.ask("POST", path, by="", body=body + b" ", Stripe_Signature=header))[0] == 400
        assert (await site.ask("POST", path, by="", body=body))[0] == 400
        body, header = world.peer.signed(event, bad)
        status, text = await site.ask("POST", path, by="", body=body, Stripe_Signature=header)
        assert (status, text) == (400, "invalid signature or event")


async def test_webhook_body_is_bounded(site: Site) -> None:
    body = b"x" * (1024 * 1024 + 1)
    answer = await site.ask("POST", "/v1/billing/stripe/webhook", by="", body=body, Stripe_Signature="t=1,v1=x")
    assert answer[0] == 413


class Broken:
    """A store that does not answer."""

    kind = "sqlite"

    async def read(self, work: object) -> object:
        """Fail."""
        raise StoreUnavailable("The database does not answer.")

    write = read


async def test_database_outage_is_503_and_500_for_stripe(store: Store) -> None:
    async with open_world(store) as world:
        pages = await world.payments.deposits.begin("ann", cents=500)  # type: ignore[union-attr]
        event = world.peer.pay(pages.stripe_session_id)
        async with open_world(Broken(), peer=world.peer, clock=world.clock) as outage:  # type: ignore[arg-type]
            site = Site(outage.store, outage.payments)
            assert code(await site.ask("GET", "/v1/billing/stripe/withdrawals"))[0] == 503
            assert (await site.ask("POST", "/v1/billing/stripe/create-session", body={"amount_usd": "5.00"}))[0] == 503
            body, header = world.peer.signed(event, HOOK_SECRET)
            path = "/v1/billing/stripe/webhook"
            assert await site.ask("POST", path, by="", body=body, Stripe_Signature=header) == (500, "try again")
        assert await world.deposit_hook(event) == 200
        assert (await world.balance("ann")).balance == 5_000_000
