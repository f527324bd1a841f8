"""Buying credits: our order first, then Stripe's payment page, and credit only for an order that fits its payment.

Invariant: an order is credited at most once, with exactly its amount, as credits that can never be withdrawn; metadata
alone never authorises a credit.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from protocol.api.errors import invalid_request
from server.billing.ledger import STRIPE_IN, Entry, post
from server.payments import refusals
from server.payments.failures import StripeFailure
from server.payments.fees import MICRO_USD_PER_CENT
from server.payments.orders import (
    Order,
    close_unpaid,
    complete_order,
    insert_order,
    lock_order,
    read_order,
    set_external_id,
)
from server.payments.stripe_api import CheckoutOrder
from server.payments.stripe_objects import CheckoutSession

if TYPE_CHECKING:
    from server.payments.stripe_api import StripeApi
    from server.store import Store, Tx

MIN_CENTS: Final = 50
MAX_CENTS: Final = 1_000_000
APP: Final = "darkbloom"
Settled: TypeAlias = Literal["credited", "credited_before", "not_ours"]


class Referrals(Protocol):
    """Referral codes, as far as a deposit cares."""

    async def is_known(self, code: str) -> bool:
        """Whether somebody registered a code, in whatever case it is written."""

    async def apply(self, account_id: str, code: str) -> None:
        """Bind an account to a code; own, wrong and second codes change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepositPages:
    """Where Stripe sends customers, and the host by which payments name this coordinator."""

    success_url: str
    cancel_url: str
    coordinator_host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunDeposit:
    """An order with its payment page."""

    order: Order
    stripe_session_id: str
    url: str


class OrderUnknown(Exception):
    """Somebody paid for an order of ours that we do not have; Stripe shall ask again."""


class PaymentMismatch(Exception):
    """A payment does not fit its order; nothing was credited."""


class Deposits:
    """Orders and their payments. `clock` gives microseconds; `pretend` completes orders without Stripe."""

    def __init__(
        self,
        *,
        store: Store,
        stripe: StripeApi,
        pages: DepositPages,
        clock: Callable[[], int],
        referrals: Referrals | None = None,
        pretend: bool = False,
    ) -> None:
        self._store = store
        self._stripe = stripe
        self._pages = pages
        self._clock = clock
        self._referrals = referrals
        self._pretend = pretend

    async def begin(self, account_id: str, *, cents: int, email: str = "", referral_code: str = "") -> BegunDeposit:
        """Order credits and make a payment page; raises ApiError 400 or 502."""
        _check_amount(cents)
        referral_code = referral_code.strip()
        if referral_code and (self._referrals is None or not await self._referrals.is_known(referral_code)):
            raise refusals.unknown_referral_code()
        order = await self._insert(account_id, cents, referral_code)
        try:
            page = await self._stripe.create_checkout(self._checkout(order, cents, email))
        except StripeFailure:
            # Even if Stripe made the page: nobody ever learns its address.
            await self._store.write(lambda tx: close_unpaid(tx, order.id, "failed"))
            raise refusals.stripe_failed() from None
        await self._store.write(lambda tx: set_external_id(tx, order.id, page.id))
        if self._pretend:
            await self.settle_paid(page)
        return BegunDeposit(order=order, stripe_session_id=page.id, url=page.url or "")

    async def find(self, account_id: str, order_id: str) -> Order | None:
        """Return an order of this account; None for anybody else's."""
        found = await self._store.read(lambda tx: read_order(tx, order_id))
        return found if found is not None and found.account_id == account_id else None

    async def settle_paid(self, page: CheckoutSession) -> Settled:
        """Credit the order of a paid page, once, then bind its referral code.

        Raises OrderUnknown, PaymentMismatch and StoreError; all but the mismatch may be repeated.
        """
        metadata = page.metadata or {}
        now = self._clock()

        async def work(tx: Tx) -> tuple[Settled, Order | None]:
            order = await lock_order(tx, order_id=metadata.get("billing_session_id", ""), external_id=page.id)
            if order is None:
                if self._is_ours(metadata):
                    raise OrderUnknown(f"There is no order {metadata.get('billing_session_id', '')[:64]!r}.")
                return "not_ours", None
            _check_payment(order, page)
            if order.status == "completed":
                return "credited_before", order
            entries = [
                Entry(STRIPE_IN, "stripe_deposit", -order.amount_micro_usd),
                Entry(order.account_id, "stripe_deposit", order.amount_micro_usd),
            ]
            posted = await post(tx, "deposit", f"stripe:{page.id}", entries, now)
            await complete_order(tx, order.id, now)
            return ("credited_before" if posted is None else "credited"), order

        settled, order = await self._store.write(work)
        if order is not None and order.referral_code and self._referrals is not None:
            await self._referrals.apply(order.account_id, order.referral_code)
        return settled

    async def close_unpaid(self, page: CheckoutSession, status: Literal["expired", "failed"]) -> bool:
        """End the order of a page that will not be paid; False when there is nothing to end."""
        order_id = (page.metadata or {}).get("billing_session_id", "")

        async def work(tx: Tx) -> bool:
            order = await lock_order(tx, order_id=order_id, external_id=page.id)
            if order is None or order.external_id != page.id:
                return False
            return await close_unpaid(tx, order.id, status)

        return await self._store.write(work)

    async def _insert(self, account_id: str, cents: int, referral_code: str) -> Order:
        order_id, now = str(uuid.uuid4()), self._clock()
        return await self._store.write(
            lambda tx: insert_order(
                tx,
                order_id=order_id,
                account_id=account_id,
                amount_micro_usd=cents * MICRO_USD_PER_CENT,
                referral_code=referral_code,
                now=now,
            )
        )

    def _checkout(self, order: Order, cents: int, email: str) -> CheckoutOrder:
        joint = "&" if "?" in self._pages.success_url else "?"
        return CheckoutOrder(
            order_id=order.id,
            cents=cents,
            email=email,
            success_url=f"{self._pages.success_url}{joint}session_id={{CHECKOUT_SESSION_ID}}",
            cancel_url=self._pages.cancel_url,
            metadata={
                "app": APP,
                "purchase_type": "inference_credits",
                "source": "coordinator",
                "coordinator_host": self._pages.coordinator_host,
                "billing_session_id": order.id,
                "consumer_key": order.account_id,
                "referral_code": order.referral_code,
            },
        )

    def _is_ours(self, metadata: dict[str, str]) -> bool:
        """Whether a payment says that this coordinator made it; others may share the Stripe account."""
        return metadata.get("app") == APP and metadata.get("coordinator_host") == self._pages.coordinator_host


def _check_amount(cents: int) -> None:
    if cents < MIN_CENTS:
        raise invalid_request("The smallest deposit is 0.50 USD; ask for more.", param="amount_usd")
    if cents > MAX_CENTS:
        raise invalid_request("The largest deposit is 10,000.00 USD; ask for less.", param="amount_usd")


def _check_payment(order: Order, page: CheckoutSession) -> None:
    """Raise PaymentMismatch unless page, account, currency and amount are those of the order."""
    fits = {
        "payment page": page.id == order.external_id,
        "account": (page.metadata or {}).get("consumer_key") == order.account_id,
        "currency": page.currency == order.currency,
        "amount": page.amount_total is not None and page.amount_total * MICRO_USD_PER_CENT == order.amount_micro_usd,
    }
    wrong = [name for name, good in fits.items() if not good]
    if wrong:
        raise PaymentMismatch(f"The {' and the '.join(wrong)} of a payment does not fit the order {order.id}.")
