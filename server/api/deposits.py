"""Buying credits: `/v1/billing/methods`, `…/stripe/create-session`, `…/stripe/session`, `…/wallet/balance`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol, cast

import msgspec
from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request
from server.api.gate import answer_store_outage, private_answer, read_body
from server.api.json_answer import json_answer, timestamp
from server.billing.amounts import AmountError, parse_cents, usd2
from server.billing.ledger import read_balance
from server.payments import refusals
from server.payments.deposits import MAX_CENTS, MIN_CENTS
from server.payments.fees import MICRO_USD_PER_CENT

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts import Identity
    from server.limits import Admission, RequestLimiter
    from server.payments.deposits import Deposits
    from server.payments.orders import Order
    from server.store import Store

_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,255}")


class PaymentGate(Protocol):
    """Who sent the current request, and may he; the gate of the accounts fits it."""

    @property
    def limiter(self) -> RequestLimiter:
        """The limits of callers."""

    async def caller(self) -> Identity:
        """Find the caller; raises ApiError 401."""

    async def person(self) -> Identity:
        """Find the signed-in person; raises ApiError 401 or 403."""

    async def person_within_limit(self) -> tuple[Identity, Admission]:
        """Find the signed-in person and count a call that moves money; raises ApiError 401, 403 or 429."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositServices:
    """`deposits` is None when nothing is sold; `referral_share_percent` None when there are no referrals."""

    gate: PaymentGate
    deposits: Deposits | None
    store: Store
    referral_share_percent: int | None = None


def deposits_blueprint(services: DepositServices) -> Blueprint:
    """Serve deposits; any key may buy credits for its account."""
    blueprint = Blueprint("deposits", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/billing/methods")
    async def methods() -> Response:
        return json_answer(_methods(services))

    @blueprint.post("/v1/billing/stripe/create-session")
    async def create_session() -> Response:
        caller = await services.gate.caller()
        admission = services.gate.limiter.financial(caller)
        deposits = _configured(services)
        if caller.covered:
            # The platform pays for what it asks; credits could never be spent.
            raise ApiError(403, "forbidden", "This key is never charged; buy credits with an account's own key.")
        body = await read_fields()
        cents = amount_in_cents(body)
        begun = await deposits.begin(
            caller.account_id,
            cents=cents,
            email=_email(body),
            referral_code=optional_text(body, "referral_code", limit=64),
        )
        return private_answer(
            {
                "session_id": begun.order.id,
                "stripe_session": begun.stripe_session_id,
                "url": begun.url,
                "amount_usd": usd2(begun.order.amount_micro_usd),
                "amount_micro_usd": begun.order.amount_micro_usd,
            },
            admission=admission,
        )

    @blueprint.get("/v1/billing/stripe/session")
    async def session() -> Response:
        caller = await services.gate.caller()
        deposits = _configured(services)
        order_id = request.args.get("id", "")
        if not 0 < len(order_id) <= 64:
            raise invalid_request("The id of a session is needed; send ?id=.", param="id")
        order = await deposits.find(caller.account_id, order_id) if "\x00" not in order_id else None
        if order is None:
            raise ApiError(404, "not_found", "There is no such session of this account.", param="id")
        return private_answer(_order(order))

    @blueprint.get("/v1/billing/wallet/balance")
    async def wallet_balance() -> Response:
        caller = await services.gate.caller()
        balance = await services.store.read(lambda tx: read_balance(tx, caller.account_id))
        return private_answer({"credit_balance_micro_usd": balance.free})

    return blueprint


async def read_fields() -> Mapping[str, object]:
    """Read the body as a JSON object with exact numbers; raises ApiError 400 or 413."""
    try:
        decoded = _DECODER.decode(await read_body())
    except (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError):
        raise invalid_request("The body is not JSON; send a JSON object in UTF-8.") from None
    if not isinstance(decoded, dict):
        raise invalid_request("The body is not a JSON object; send {...}.")
    return cast("Mapping[str, object]", decoded)


def amount_in_cents(body: Mapping[str, object]) -> int:
    """Return `amount_usd` in cents; raises ApiError 400 for anything but a positive amount of whole cents."""
    try:
        cents = parse_cents(body.get("amount_usd"))
    except AmountError as error:
        raise invalid_request(str(error), param="amount_usd") from None
    if cents <= 0:
        raise invalid_request("The amount must be positive; ask for more.", param="amount_usd")
    return cents


def optional_text(body: Mapping[str, object], member: str, *, limit: int) -> str:
    """Return a text of the body, empty when it is absent; raises ApiError 400 for other types and long ones."""
    value = body.get(member)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > limit or "\x00" in value:
        raise invalid_request(f"{member} must be a text of at most {limit} characters.", param=member)
    return value.strip()


def _configured(services: DepositServices) -> Deposits:
    if services.deposits is None:
        raise refusals.not_configured()
    return services.deposits


def _email(body: Mapping[str, object]) -> str:
    email = optional_text(body, "email", limit=320)
    if email and not _EMAIL.fullmatch(email):
        raise invalid_request("email is not an address; check it or leave it out.", param="email")
    return email


def _methods(services: DepositServices) -> dict[str, object]:
    stripe: dict[str, object] = {
        "method": "stripe",
        "display_name": "Card",
        "currencies": ["USD"],
        "min_usd": usd2(MIN_CENTS * MICRO_USD_PER_CENT),
        "max_usd": usd2(MAX_CENTS * MICRO_USD_PER_CENT),
    }
    found: dict[str, object] = {"methods": [stripe] if services.deposits is not None else []}
    share = services.referral_share_percent
    found["referral"] = {"enabled": share is not None, "share_percent": share or 0}
    return found


def _order(order: Order) -> dict[str, object]:
    return {
        "session_id": order.id,
        "payment_method": order.payment_method,
        "amount_micro_usd": order.amount_micro_usd,
        "status": order.status,
        "created_at": timestamp(order.created_at),
        "completed_at": timestamp(order.completed_at),
    }
