"""The mode that moves no money: a Stripe that agrees to everything, with ids that say so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from server.payments.failures import StripeRejected
from server.payments.stripe_objects import (
    Account,
    CheckoutSession,
    ExternalAccount,
    ExternalAccounts,
    Payout,
    TosAcceptance,
    Transfer,
)

if TYPE_CHECKING:
    from server.payments.stripe_api import CheckoutOrder, NewAccount, TransferOrder


class MockStripe:
    """A StripeApi without a network. Ids are functions of what they stand for; `clock` gives microseconds."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        self._clock = clock

    async def create_checkout(self, order: CheckoutOrder) -> CheckoutSession:
        """Return a page that counts as paid and leads straight back."""
        page_id = _id("cs", order.order_id)
        return CheckoutSession(
            id=page_id,
            url=order.success_url.replace("{CHECKOUT_SESSION_ID}", page_id),
            payment_status="paid",
            amount_total=order.cents,
            currency="usd",
            metadata=dict(order.metadata),
        )

    async def payment_metadata(self, payment_intent_id: str) -> Mapping[str, str]:
        """See StripeApi."""
        return {}

    async def create_account(self, new: NewAccount) -> Account:
        """See StripeApi."""
        return _account(f"{_id('acct', new.account_id + new.country)}_{new.country}_{new.agreement}")

    async def account(self, stripe_account_id: str) -> Account:
        """See StripeApi; accounts of the real Stripe are gone here."""
        if not stripe_account_id.startswith("acct_mock_"):
            raise StripeRejected(404, "account_invalid")
        return _account(stripe_account_id)

    async def set_automatic_payouts(self, stripe_account_id: str, country: str) -> None:
        """See StripeApi."""

    async def onboarding_url(self, stripe_account_id: str, *, return_url: str, refresh_url: str) -> str:
        """Lead straight back."""
        return return_url

    async def dashboard_url(self, stripe_account_id: str) -> str:
        """See StripeApi."""
        return "https://dashboard.stripe.com/test"

    async def create_transfer(self, order: TransferOrder) -> Transfer:
        """See StripeApi."""
        return Transfer(id=_id("tr", order.withdrawal_id), destination=order.stripe_account_id)

    async def create_instant_payout(self, order: TransferOrder) -> Payout:
        """See StripeApi."""
        return self._payout(_id("po", order.withdrawal_id))

    async def payout(self, stripe_account_id: str, payout_id: str) -> Payout:
        """See StripeApi."""
        return self._payout(payout_id)

    def _payout(self, payout_id: str) -> Payout:
        now = self._clock() // 1_000_000
        return Payout(id=payout_id, status="paid", created=now, arrival_date=now)


def _id(kind: str, of: str) -> str:
    return f"{kind}_mock_{hashlib.sha256(of.encode()).hexdigest()[:16]}"


def _account(account_id: str) -> Account:
    """Return a ready account with a debit card; country and agreement stand at the end of its id."""
    *_, country, agreement = account_id.split("_")
    return Account(
        id=account_id,
        country=country,
        details_submitted=True,
        payouts_enabled=True,
        tos_acceptance=TosAcceptance(service_agreement="recipient" if agreement == "recipient" else None),
        external_accounts=ExternalAccounts(
            data=[ExternalAccount(object="card", last4="4242", default_for_currency=True, funding="debit")]
        ),
    )
