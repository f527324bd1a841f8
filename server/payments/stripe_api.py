"""What payments ask of Stripe: one interface for the real service, a local peer, and the mode that moves no money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from server.payments.countries import Agreement
    from server.payments.stripe_objects import Account, CheckoutSession, Payout, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutOrder:
    """A payment page to make; `metadata` goes on the session and on its payment."""

    order_id: str
    cents: int
    email: str
    success_url: str
    cancel_url: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """A connected account to make. `nonce` keeps one try from becoming two accounts."""

    account_id: str
    email: str
    country: str
    agreement: Agreement
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOrder:
    """Money for a connected account, in cents of USD; repeating it with the same id moves it once."""

    withdrawal_id: str
    stripe_account_id: str
    cents: int


class StripeApi(Protocol):
    """Every method raises StripeRejected or StripeUnclear, and nothing else of Stripe's. All are cancellable; a call
    that was cancelled may have had its effect.
    """

    async def create_checkout(self, order: CheckoutOrder) -> CheckoutSession:
        """Make a payment page; the idempotency key comes from the order."""

    async def payment_metadata(self, payment_intent_id: str) -> Mapping[str, str]:
        """Return the metadata that we put on a payment."""

    async def create_account(self, new: NewAccount) -> Account:
        """Make an Express account with automatic payouts."""

    async def account(self, stripe_account_id: str) -> Account:
        """Read a connected account; StripeRejected with `is_gone` when it is not there for us, or deleted."""

    async def set_automatic_payouts(self, stripe_account_id: str, country: str) -> None:
        """Let Stripe sweep the account's balance to its bank by itself."""

    async def onboarding_url(self, stripe_account_id: str, *, return_url: str, refresh_url: str) -> str:
        """Make a single-use page on which the payee gives what Stripe asks."""

    async def dashboard_url(self, stripe_account_id: str) -> str:
        """Make a single-use link to the payee's Express dashboard."""

    async def create_transfer(self, order: TransferOrder) -> Transfer:
        """Move money to the connected account: one single attempt, so that every doubt about it is seen."""

    async def create_instant_payout(self, order: TransferOrder) -> Payout:
        """Move money from the connected account to its debit card at once: one single attempt."""

    async def payout(self, stripe_account_id: str, payout_id: str) -> Payout:
        """Read a payout as it is now."""
