"""Paying out: `/v1/billing/stripe/{onboard,status,dashboard,account,withdrawals}`, `/v1/billing/withdraw/stripe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import invalid_request
from server.accounts.guards import require_user
from server.api.deposits import amount_in_cents, optional_text, read_fields
from server.api.gate import answer_store_outage, private_answer
from server.api.json_answer import MICROSECONDS, timestamp
from server.billing.amounts import usd2
from server.payments import refusals
from server.payments.fees import (
    INSTANT_FEE_BASIS_POINTS,
    MICRO_USD_PER_CENT,
    MIN_WITHDRAW_MICRO_USD,
    Method,
)
from server.payments.redirects import MAX_URL_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart.wrappers import Response

    from server.api.deposits import PaymentGate
    from server.payments.open import Payouts
    from server.payments.payee_accounts import PayeeStatusAnswer
    from server.payments.withdrawal_answers import WithdrawalAnswer
    from server.payments.withdrawal_rows import Withdrawal

KEY_HEADER: Final = "Idempotency-Key"
DEFAULT_ROWS: Final = 50
MAX_ROWS: Final = 200
_MAX_KEY_CHARACTERS: Final = 255
_FEE_MIN_USD: Final = 0.5
"""`INSTANT_FEE_MIN_MICRO_USD` as the number that clients read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutServices:
    """`payouts` is None when nobody is paid out."""

    gate: PaymentGate
    payouts: Payouts | None


def payouts_blueprint(services: PayoutServices) -> Blueprint:
    """Serve payouts; what moves money needs a signed-in person, never an API key."""
    blueprint = Blueprint("payouts", __name__)
    gate = services.gate
    answer_store_outage(blueprint)

    @blueprint.post("/v1/billing/stripe/onboard")
    async def onboard() -> Response:
        person, admission = await gate.person_within_limit()
        payouts = _configured(services)
        body = await read_fields()
        begun = await payouts.onboarding.begin(
            person.account_id,
            country=optional_text(body, "country", limit=2),
            return_url=optional_text(body, "return_url", limit=MAX_URL_CHARACTERS) or None,
            refresh_url=optional_text(body, "refresh_url", limit=MAX_URL_CHARACTERS) or None,
        )
        return private_answer(
            {"url": begun.url, "stripe_account_id": begun.stripe_account_id, "status": begun.status},
            admission=admission,
        )

    @blueprint.get("/v1/billing/stripe/status")
    async def status() -> Response:
        caller = require_user(await gate.caller())
        if services.payouts is None:
            return private_answer({"has_account": False, "configured": False})
        refresh = request.args.get("refresh", "") in ("1", "true")
        if refresh:
            gate.limiter.financial(caller)
        return private_answer(_status(await services.payouts.accounts.status(caller.account_id, refresh=refresh)))

    @blueprint.post("/v1/billing/stripe/dashboard")
    async def dashboard() -> Response:
        person, admission = await gate.person_within_limit()
        url = await _configured(services).onboarding.dashboard(person.account_id)
        return private_answer({"url": url}, admission=admission)

    @blueprint.delete("/v1/billing/stripe/account")
    async def unlink() -> Response:
        person = await gate.person()
        return private_answer({"unlinked": await _configured(services).onboarding.unlink(person.account_id)})

    @blueprint.get("/v1/billing/stripe/withdrawals")
    async def withdrawals() -> Response:
        caller = require_user(await gate.caller())
        rows = await _configured(services).withdrawals.newest(caller.account_id, _limit())
        return private_answer({"withdrawals": [_row(row) for row in rows]})

    @blueprint.post("/v1/billing/withdraw/stripe")
    async def withdraw() -> Response:
        person, admission = await gate.person_within_limit()
        payouts = _configured(services)
        key = _idempotency_key()
        body = await read_fields()
        answer = await payouts.withdrawals.withdraw(
            person.account_id,
            gross_micro_usd=amount_in_cents(body) * MICRO_USD_PER_CENT,
            method=_method(body),
            idempotency_key=key,
        )
        return private_answer(_answer(answer), status=answer.status, admission=admission)

    return blueprint


def _configured(services: PayoutServices) -> Payouts:
    if services.payouts is None:
        raise refusals.not_configured()
    return services.payouts


def _method(body: Mapping[str, object]) -> Method:
    method = body.get("method")
    if method is None or method == "":
        return "standard"
    if method not in ("standard", "instant"):
        raise invalid_request("method must be standard or instant.", param="method")
    return method


def _idempotency_key() -> str:
    key = request.headers.get(KEY_HEADER, "").strip()
    if len(key) > _MAX_KEY_CHARACTERS or not key.isprintable() or not key.isascii():
        raise invalid_request(f"{KEY_HEADER} must be at most {_MAX_KEY_CHARACTERS} printable ASCII characters.")
    return key


def _limit() -> int:
    written = request.args.get("limit", str(DEFAULT_ROWS))
    if not written.isascii() or not written.isdigit() or len(written) > 9 or int(written) < 1:
        raise invalid_request(f"limit must be a number from 1 to {MAX_ROWS}.", param="limit")
    return min(int(written), MAX_ROWS)


def _status(answer: PayeeStatusAnswer) -> dict[str, object]:
    payee = answer.payee
    found: dict[str, object] = {
        "has_account": bool(payee.stripe_account_id),
        "configured": True,
        "stripe_account_id": payee.stripe_account_id,
        "status": payee.status,
        "stripe_account_country": payee.country,
        "destination_type": payee.destination_type,
        "destination_last4": payee.destination_last4,
        "instant_eligible": payee.instant_eligible,
        "min_withdraw_micro_usd": MIN_WITHDRAW_MICRO_USD,
        "instant_fee_bps": INSTANT_FEE_BASIS_POINTS,
        "instant_fee_min_usd": _FEE_MIN_USD,
    }
    if answer.due is not None:
        found["currently_due"] = answer.due
    return found


def _answer(answer: WithdrawalAnswer) -> dict[str, object]:
    row = answer.row
    found: dict[str, object] = {
        "status": "transferred",
        "withdrawal_id": row.id,
        "transfer_id": row.transfer_id,
        "amount_usd": usd2(row.amount_micro_usd),
        "fee_usd": usd2(0 if row.fee_refunded else row.fee_micro_usd),
        "net_usd": usd2(row.net_cents * MICRO_USD_PER_CENT),
        "method": row.method,
        "eta": answer.eta,
        "message": answer.message,
        "balance_micro_usd": answer.balance_micro_usd,
    }
    if row.payout_id:
        found["payout_id"] = row.payout_id
    if row.arrival_at is not None:
        found["arrival_unix"] = row.arrival_at // MICROSECONDS
    return found


def _row(row: Withdrawal) -> dict[str, object]:
    return {
        "id": row.id,
        "stripe_account_id": row.stripe_account_id,
        "transfer_id": row.transfer_id,
        "payout_id": row.payout_id or row.sweep_payout_id,
        "amount_micro_usd": row.amount_micro_usd,
        "fee_micro_usd": row.fee_micro_usd,
        "net_micro_usd": row.net_micro_usd,
        "method": row.method,
        "status": row.status,
        "failure_reason": row.failure_reason,
        "refunded": row.refunded,
        "fee_refunded": row.fee_refunded,
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.updated_at),
    }
