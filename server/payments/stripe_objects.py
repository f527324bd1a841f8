"""The parts of Stripe's objects that we read, alike in answers and in webhooks; unknown fields are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import msgspec

T = TypeVar("T")
Attributes: TypeAlias = dict[str, object]


class CheckoutSession(msgspec.Struct, frozen=True, kw_only=True):
    """A payment page; `amount_total` in cents."""

    id: str
    url: str | None = None
    payment_status: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    metadata: dict[str, str] | None = None


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What an account still owes Stripe."""

    currently_due: list[str] | None = None
    disabled_reason: str | None = None


class TosAcceptance(msgspec.Struct, frozen=True, kw_only=True):
    """`service_agreement` is absent for accounts under the full agreement."""

    service_agreement: str | None = None


class ExternalAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account or a card that payouts go to."""

    object: str = ""
    last4: str | None = None
    default_for_currency: bool | None = None
    funding: str | None = None


class ExternalAccounts(msgspec.Struct, frozen=True, kw_only=True):
    """The list of them."""

    data: list[ExternalAccount] = []


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When Stripe sweeps a balance to the bank."""

    interval: str | None = None


class PayoutSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of payouts."""

    schedule: Schedule | None = None


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an account."""

    payouts: PayoutSettings | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A connected account."""

    id: str
    country: str | None = None
    deleted: bool = False
    details_submitted: bool | None = None
    payouts_enabled: bool | None = None
    requirements: Requirements | None = None
    tos_acceptance: TosAcceptance | None = None
    external_accounts: ExternalAccounts | None = None
    settings: AccountSettings | None = None


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Money moved from our balance to a connected account; `reversed` only when all of it came back."""

    id: str
    destination: str | None = None
    reversed: bool | None = None
    metadata: dict[str, str] | None = None


class Payout(msgspec.Struct, frozen=True, kw_only=True):
    """Money moved from a connected account to its bank; `created` and `arrival_date` in Unix seconds."""

    id: str
    status: str = ""
    automatic: bool = False
    created: int = 0
    arrival_date: int | None = None
    failure_code: str | None = None
    metadata: dict[str, str] | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's payment; amounts in cents."""

    id: str
    amount_refunded: int = 0
    currency: str | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that the customer's bank took back; amount in cents."""

    id: str
    amount: int = 0
    currency: str | None = None
    payment_intent: str | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A page that Stripe made for one person."""

    url: str


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What an event speaks of; `object` as it was when the event was made."""

    object: msgspec.Raw
    previous_attributes: Attributes | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook; `account` names the connected account it comes from; `created` in Unix seconds."""

    id: str
    type: str
    data: EventData
    account: str | None = None
    created: int = 0


class UnreadableObject(Exception):
    """Something of Stripe's does not have the shape that we know."""


def read_json(body: bytes | msgspec.Raw, kind: type[T]) -> T:
    """Parse JSON of Stripe; raises UnreadableObject."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UnreadableObject(f"This is no {kind.__name__} as Stripe describes it.") from None


def read_builtins(value: Mapping[str, object], kind: type[T]) -> T:
    """Convert plain data of the SDK; raises UnreadableObject."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError:
        raise UnreadableObject(f"This is no {kind.__name__} as Stripe describes it.") from None
