"""A peer that behaves like Stripe for the endpoints that we use: keys, balances, payouts, events, and planned faults.

It has no sockets: `tests.testbed.stripe_peer_http` puts it on a loopback port or behind an in-memory transport.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import trio

from server.payments.signatures import signed_header
from tests.testbed.stripe_peer_faults import ConnectionCut, Fault, FaultKind, FaultPlan
from tests.testbed.stripe_peer_forms import Form, read_form, text_at, texts_at

Json: TypeAlias = dict[str, Any]

KEY_LIFE_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: Json


class PeerError(Exception):
    """An error answer of an endpoint. `saved`: the key remembers it, because the endpoint had begun its work."""

    def __init__(self, status: int, code: str, *, kind: str = "invalid_request_error", saved: bool = True) -> None:
        super().__init__(code)
        self.reply = Reply(status, {"error": {"type": kind, "code": code, "message": f"refused: {code}"}})
        self.saved = saved


@dataclass(slots=True)
class _Remembered:
    fingerprint: str
    at: float
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came."""

    method: str
    path: str
    account: str
    key: str
    form: Form


_LASTING = (
    "platform_cents",
    "outbox",
    "sessions",
    "intents",
    "accounts",
    "balances",
    "transfers",
    "payouts",
    "_keys",
    "_last_number",
)


@dataclass(slots=True)
class StripePeer:
    """The state of a pretended Stripe. `clock` gives Unix seconds; amounts in cents."""

    clock: Callable[[], float]
    platform_cents: int = 100_000_000
    faults: FaultPlan = field(default_factory=FaultPlan)
    calls: list[Call] = field(default_factory=list)
    on_call: Callable[[Call], None] = lambda _call: None
    outbox: list[Json] = field(default_factory=list)
    sessions: dict[str, Json] = field(default_factory=dict)
    intents: dict[str, Json] = field(default_factory=dict)
    accounts: dict[str, Json] = field(default_factory=dict)
    balances: dict[str, int] = field(default_factory=dict)
    transfers: dict[str, Json] = field(default_factory=dict)
    payouts: dict[str, Json] = field(default_factory=dict)
    _keys: dict[tuple[str, str], _Remembered] = field(default_factory=dict)
    _last_number: int = 0

    # --- the state, to survive the process ---

    def dump(self) -> bytes:
        """Return all that Stripe remembers."""
        return pickle.dumps({name: getattr(self, name) for name in _LASTING})

    def load(self, state: bytes) -> None:
        """Go on from what `dump` returned."""
        for name, value in pickle.loads(state).items():
            setattr(self, name, value)

    # --- calls ---

    def plan(self, kind: FaultKind, path: str = "/", *, method: str = "POST", times: int = 1, **more: Any) -> None:
        """Plan a fault for the next calls to a path."""
        self.faults.add(Fault(kind, path, method, times, **more))

    async def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer one call; raises ConnectionCut. `headers` have lower-case names."""
        if not headers.get("authorization", "").startswith("Bearer sk_"):
            return PeerError(401, "api_key_missing").reply
        form = read_form(body)
        account, key = headers.get("stripe-account", ""), headers.get("idempotency-key", "")
        path = path.split("?", 1)[0]
        self.calls.append(Call(method, path, account, key, form))
        self.on_call(self.calls[-1])
        fault = self.faults.take(method, path)
        try:
            return await self._with_fault(fault, method, path, account, key, form)
        except PeerError as error:
            return error.reply

    async def _with_fault(
        self, fault: Fault | None, method: str, path: str, account: str, key: str, form: Form
    ) -> Reply:
        match fault.kind if fault is not None else None:
            case "cut_before":
                raise ConnectionCut
            case "error_before":
                raise PeerError(503, "", kind="api_error")
            case "busy":
                raise PeerError(409, "idempotency_key_in_use", kind="idempotency_error")
            case "rate_limited":
                raise PeerError(429, "rate_limit")
            case "rejected":
                assert fault is not None
                raise PeerError(400, fault.code)
            case "delay":
                assert fault is not None
                return await self._once(method, path, account, key, form, delay=fault.seconds)
            case "error_saved":
                return await self._once(method, path, account, key, form, fail=True)
            case "cut_after":
                await self._once(method, path, account, key, form)
                raise ConnectionCut
            case "error_after":
                await self._once(method, path, account, key, form)
                raise PeerError(502, "", kind="api_error")
        return await self._once(method, path, account, key, form)

    async def _once(
        self, method: str, path: str, account: str, key: str, form: Form, *, delay: float = 0, fail: bool = False
    ) -> Reply:
        """Perform a call, or give the remembered answer of its key."""
        if method != "POST" or not key:
            await self._wait(delay)
            return self._perform(method, path, account, form)
        fingerprint = json.dumps([path, form], sort_keys=True)
        known = self._keys.get((account, key))
        if known is not None and self.clock() - known.at < KEY_LIFE_SECONDS:
            if known.fingerprint != fingerprint:
                raise PeerError(400, "", kind="idempotency_error")
            if known.reply is None:
                raise PeerError(409, "idempotency_key_in_use", kind="idempotency_error")
            return known.reply
        record = self._keys[account, key] = _Remembered(fingerprint, self.clock())
        try:
            await self._wait(delay)
            if fail:
                raise PeerError(500, "", kind="api_error")
            record.reply = self._perform(method, path, account, form)
        except PeerError as error:
            if error.saved:
                record.reply = error.reply
            else:
                del self._keys[account, key]
            raise
        return record.reply

    async def _wait(self, seconds: float) -> None:
        if seconds:
            await trio.sleep(seconds)

    def _perform(self, method: str, path: str, account: str, form: Form) -> Reply:
        match method, path.strip("/").split("/")[1:]:
            case "POST", ["checkout", "sessions"]:
                return self._new_session(form)
            case "GET", ["payment_intents", name] if name in self.intents:
                return Reply(200, self.intents[name])
            case "POST", ["accounts"]:
                return self._new_account(form)
            case "GET", ["accounts", name]:
                return Reply(200, self._account(name))
            case "POST", ["accounts", name]:
                self._account(name)["settings"]["payouts"]["schedule"]["interval"] = text_at(
                    form, "settings", "payouts", "schedule", "interval"
                )
                return Reply(200, self._account(name))
            case "POST", ["accounts", name, "login_links"]:
                return Reply(200, {"object": "login_link", "url": f"https://connect.stripe.test/express/{name}"})
            case "POST", ["account_links"]:
                name = self._account(text_at(form, "account"))["id"]
                return Reply(200, {"object": "account_link", "url": f"https://connect.stripe.test/setup/{name}"})
            case "POST", ["transfers"]:
                return self._new_transfer(form)
            case "POST", ["payouts"]:
                return self._new_payout(account, form)
            case "GET", ["payouts", name] if name in self.payouts and self.payouts[name]["account"] == account:
                return Reply(200, self.payouts[name])
        raise PeerError(404, "resource_missing", saved=False)

    def _new_session(self, form: Form) -> Reply:
        if "payment_method_types" in form:
            raise PeerError(400, "payment_method_types_no_longer_supported", saved=False)
        cents = int(text_at(form, "line_items", "0", "price_data", "unit_amount"))
        if cents < 50:
            raise PeerError(400, "amount_too_small", saved=False)
        name = self._id("cs")
        self.sessions[name] = {
            "id": name,
            "object": "checkout.session",
            "url": f"https://checkout.stripe.test/{name}",
            "amount_total": cents,
            "currency": text_at(form, "line_items", "0", "price_data", "currency"),
            "payment_status": "unpaid",
            "status": "open",
            "metadata": texts_at(form, "metadata"),
        }
        intent = form.get("payment_intent_data", {})
        assert isinstance(intent, dict)
        pi = f"pi_{name}"
        self.intents[pi] = {"id": pi, "object": "payment_intent", "metadata": texts_at(intent, "metadata")}
        return Reply(200, dict(self.sessions[name]))

    def _new_account(self, form: Form) -> Reply:
        name = self._id("acct")
        agreement = text_at(form, "tos_acceptance", "service_agreement")
        self.accounts[name] = {
            "id": name,
            "object": "account",
            "country": text_at(form, "country"),
            "details_submitted": False,
            "payouts_enabled": False,
            "requirements": {"currently_due": ["external_account"], "disabled_reason": None},
            "tos_acceptance": {"service_agreement": agreement} if agreement else {},
            "external_accounts": {"object": "list", "data": []},
            "settings": {
                "payouts": {
                    "schedule": {"interval": text_at(form, "settings", "payouts", "schedule", "interval") or "daily"}
                }
            },
        }
        self.balances[name] = 0
        return Reply(200, self._account(name))

    def _account(self, name: str) -> Json:
        if name not in self.accounts:
            raise PeerError(403, "account_invalid", saved=False)
        return self.accounts[name]

    def _new_transfer(self, form: Form) -> Reply:
        cents, destination = int(text_at(form, "amount")), text_at(form, "destination")
        if destination not in self.accounts:
            raise PeerError(400, "resource_missing")
        if cents > self.platform_cents:
            raise PeerError(400, "balance_insufficient")
        name = self._id("tr")
        self.platform_cents -= cents
        self.balances[destination] += cents
        self.transfers[name] = {
            "id": name,
            "object": "transfer",
            "amount": cents,
            "amount_reversed": 0,
            "destination": destination,
            "reversed": False,
            "metadata": texts_at(form, "metadata"),
        }
        return Reply(200, dict(self.transfers[name]))

    def _new_payout(self, account: str, form: Form) -> Reply:
        cents = int(text_at(form, "amount"))
        cards = [one for one in self._account(account)["external_accounts"]["data"] if one["object"] == "card"]
        if text_at(form, "method") == "instant" and not cards:
            raise PeerError(400, "instant_payouts_unsupported")
        if cents > self.balances[account]:
            raise PeerError(400, "balance_insufficient")
        made = self._payout(account, cents, automatic=False, metadata=texts_at(form, "metadata"))
        return Reply(200, dict(made))

    def _payout(self, account: str, cents: int, *, automatic: bool, metadata: dict[str, str]) -> Json:
        name, now = self._id("po"), int(self.clock())
        self.balances[account] -= cents
        self.payouts[name] = {
            "id": name,
            "object": "payout",
            "amount": cents,
            "account": account,
            "automatic": automatic,
            "created": now,
            "arrival_date": now + (86_400 if automatic else 1_800),
            "status": "pending",
            "metadata": metadata,
        }
        return self.payouts[name]

    def _id(self, kind: str) -> str:
        self._last_number += 1
        return f"{kind}_{self._last_number:06d}"

    # --- what happens at Stripe without us; each returns the event it makes ---

    def pay(self, session: str, *, kind: str = "checkout.session.completed", status: str = "paid") -> Json:
        """Let a customer pay."""
        self.sessions[session] |= {"payment_status": status, "status": "complete"}
        return self.event(kind, {**self.sessions[session], "payment_intent": f"pi_{session}"})

    def close(self, session: str, kind: str = "checkout.session.expired") -> Json:
        """Let a payment page end without money."""
        self.sessions[session]["status"] = "expired"
        return self.event(kind, self.sessions[session])

    def refund(self, session: str, *, total_cents: int, before_cents: int = 0) -> Json:
        """Give a customer money back; `total_cents` counts all refunds of the charge so far."""
        charge = {
            "id": f"ch_{session}",
            "object": "charge",
            "amount_refunded": total_cents,
            "currency": "usd",
            "payment_intent": f"pi_{session}",
            "metadata": self.intents[f"pi_{session}"]["metadata"],
        }
        return self.event("charge.refunded", charge, previous={"amount_refunded": before_cents})

    def dispute(self, session: str, cents: int) -> Json:
        """Let the customer's bank take money back."""
        return self.event(
            "charge.dispute.created",
            {"id": f"dp_{session}", "amount": cents, "currency": "usd", "payment_intent": f"pi_{session}"},
        )

    def verify(self, account: str, *, destination: str = "bank", funding: str = "debit") -> Json:
        """Let a payee finish onboarding with a bank account or a card."""
        target = {"object": "bank_account" if destination == "bank" else "card", "last4": "4242"}
        if destination == "card":
            target["funding"] = funding
        self.accounts[account] |= {
            "details_submitted": True,
            "payouts_enabled": True,
            "requirements": {"currently_due": [], "disabled_reason": None},
            "external_accounts": {"object": "list", "data": [{**target, "default_for_currency": True}]},
        }
        return self.event("account.updated", self.accounts[account], account=account)

    def new_account(self, country: str = "US", *, agreement: str = "", destination: str = "bank") -> str:
        """Make a ready account without asking anybody; returns its id."""
        form: Form = {"country": country}
        if agreement:
            form["tos_acceptance"] = {"service_agreement": agreement}
        name: str = self._new_account(form).body["id"]
        self.verify(name, destination=destination)
        self.outbox.clear()
        return name

    def drop_account(self, account: str) -> None:
        """Let an account be closed at Stripe."""
        del self.accounts[account]

    def sweep(self, account: str) -> str | None:
        """Pay an account's whole balance out by schedule; returns the payout, None for an empty balance."""
        cents = self.balances[account]
        return self._payout(account, cents, automatic=True, metadata={})["id"] if cents else None

    def settle_payout(self, payout: str) -> Json:
        """Let the bank take a payout."""
        self.payouts[payout]["status"] = "paid"
        return self._payout_event("payout.paid", payout)

    def bounce_payout(self, payout: str, kind: str = "payout.failed") -> Json:
        """Let the bank send a payout back, even after it was paid."""
        found = self.payouts[payout]
        if found["status"] not in ("failed", "canceled"):
            self.balances[found["account"]] += found["amount"]
        found |= {"status": "failed" if kind == "payout.failed" else "canceled", "failure_code": "account_closed"}
        return self._payout_event(kind, payout)

    def reverse(self, transfer: str, *, cents: int | None = None) -> Json:
        """Take a transfer back from the connected account, all of it or some cents."""
        found = self.transfers[transfer]
        cents = found["amount"] - found["amount_reversed"] if cents is None else cents
        found["amount_reversed"] += cents
        found["reversed"] = found["amount_reversed"] == found["amount"]
        self.balances[found["destination"]] -= cents
        self.platform_cents += cents
        return self.event("transfer.reversed", found)

    def _payout_event(self, kind: str, payout: str) -> Json:
        found = self.payouts[payout]
        return self.event(kind, found, account=found["account"])

    def event(self, kind: str, what: Json, *, account: str | None = None, previous: Json | None = None) -> Json:
        """Make an event of how something is now, put it into the outbox, and return it."""
        data: Json = {"object": json.loads(json.dumps(what))}
        if previous is not None:
            data["previous_attributes"] = previous
        made: Json = {
            "id": self._id("evt"),
            "object": "event",
            "type": kind,
            "created": int(self.clock()),
            "data": data,
        }
        if account is not None:
            made["account"] = account
        self.outbox.append(made)
        return made

    def signed(self, event: Json, secret: str) -> tuple[bytes, str]:
        """Return the body of an event and the header that signs it now."""
        body = json.dumps(event).encode()
        return body, signed_header(secret, int(self.clock()), body)
