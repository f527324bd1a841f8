"""Our view of a connected account: status, destination and schedule, computed from what Stripe says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from server.payments.stripe_objects import Account, ExternalAccount

PayeeStatus: TypeAlias = Literal["", "pending", "ready", "restricted", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """What we keep of a connected account. `destination_type` is bank, card or empty."""

    stripe_account_id: str
    status: PayeeStatus
    country: str
    destination_type: str
    destination_last4: str
    instant_eligible: bool


def local_status(account: Account) -> PayeeStatus:
    """Return pending, ready, restricted or rejected."""
    due = account.requirements
    if due is not None and (due.disabled_reason or "").startswith("rejected"):
        return "rejected"
    if account.payouts_enabled:
        return "ready"
    if account.details_submitted and due is not None and due.currently_due:
        return "restricted"
    return "pending"


def view_of(account: Account) -> AccountView:
    """Return what we keep of an account."""
    chosen = _destination(account)
    kind = {"bank_account": "bank", "card": "card"}.get(chosen.object, "") if chosen is not None else ""
    return AccountView(
        stripe_account_id=account.id,
        status=local_status(account),
        country=(account.country or "").upper(),
        destination_type=kind,
        destination_last4=(chosen.last4 or "")[:4] if chosen is not None else "",
        instant_eligible=kind == "card" and chosen is not None and chosen.funding == "debit",
    )


def currently_due(account: Account) -> list[str]:
    """Return the names of what the payee still has to give to Stripe."""
    return list((account.requirements.currently_due if account.requirements is not None else None) or [])


def service_agreement(account: Account) -> str | None:
    """Return the agreement as Stripe writes it; None for full accounts."""
    return account.tos_acceptance.service_agreement if account.tos_acceptance is not None else None


def payout_interval(account: Account) -> str:
    """Return daily, weekly, monthly or manual; empty when Stripe does not say."""
    payouts = account.settings.payouts if account.settings is not None else None
    schedule = payouts.schedule if payouts is not None else None
    return (schedule.interval if schedule is not None else None) or ""


def _destination(account: Account) -> ExternalAccount | None:
    """The external account that is default for its currency, else the first."""
    listed = account.external_accounts.data if account.external_accounts is not None else []
    return next((one for one in listed if one.default_for_currency), listed[0] if listed else None)
