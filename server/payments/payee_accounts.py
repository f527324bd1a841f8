"""Connected accounts as we find them: read live, mirrored into our rows, healed, and unlinked once they are gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.payments import refusals
from server.payments.account_status import (
    currently_due,
    local_status,
    payout_interval,
    service_agreement,
    view_of,
)
from server.payments.countries import agreement_of, required_agreement
from server.payments.failures import StripeFailure, StripeRejected
from server.payments.payees import (
    Payee,
    mirror_account,
    payee_of_stripe_account,
    read_payee,
    set_status,
    unlink_account,
)

if TYPE_CHECKING:
    from server.payments.alerts import Alerts
    from server.payments.stripe_api import StripeApi
    from server.payments.stripe_objects import Account
    from server.store import Store

_log = logging.getLogger("darkbloom.payments")


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeStatusAnswer:
    """A person's payout account as we know it; `due` only when Stripe was asked just now."""

    payee: Payee
    due: list[str] | None


class PayeeAccounts:
    """Reads connected accounts. `platform_country` is our own Stripe account's; `clock` gives microseconds."""

    def __init__(
        self, *, store: Store, stripe: StripeApi, alerts: Alerts, clock: Callable[[], int], platform_country: str
    ) -> None:
        self._store = store
        self._stripe = stripe
        self._alerts = alerts
        self._clock = clock
        self.platform_country = platform_country.upper()

    async def payee(self, account_id: str) -> Payee:
        """Return a person; raises ApiError 401 for accounts that are no person's."""
        found = await self._store.read(lambda tx: read_payee(tx, account_id))
        if found is None:
            raise refusals.no_payee()
        return found

    async def status(self, account_id: str, *, refresh: bool) -> PayeeStatusAnswer:
        """Return a person's payout account, after asking Stripe on request; raises ApiError 401 or 502."""
        payee = await self.payee(account_id)
        if not refresh or not payee.stripe_account_id:
            return PayeeStatusAnswer(payee=payee, due=None)
        try:
            account = await self.read_live(payee.stripe_account_id)
        except StripeRejected as rejected:
            if not rejected.is_gone:
                raise refusals.stripe_failed() from None
            await self.unlink(account_id, payee.stripe_account_id)
            return PayeeStatusAnswer(payee=await self.payee(account_id), due=None)
        except StripeFailure:
            raise refusals.stripe_failed() from None
        return PayeeStatusAnswer(payee=await self.payee(account_id), due=currently_due(account))

    async def read_live(self, stripe_account_id: str) -> Account:
        """Read an account, heal a manual schedule, mirror it; raises StripeRejected or StripeUnclear."""
        account = await self._stripe.account(stripe_account_id)
        await self._heal(account)
        view, now = view_of(account), self._clock()
        await self._store.write(lambda tx: mirror_account(tx, view, now))
        return account

    async def ready_account(self, payee: Payee) -> Account:
        """Return the live account of a payee that can be paid now; raises ApiError."""
        if payee.status != "ready" or not payee.stripe_account_id:
            raise refusals.not_onboarded()
        try:
            account = await self.read_live(payee.stripe_account_id)
        except StripeRejected as rejected:
            if not rejected.is_gone:
                raise refusals.stripe_failed() from None
            await self.unlink(payee.account_id, payee.stripe_account_id)
            raise refusals.account_gone() from None
        except StripeFailure:
            raise refusals.stripe_failed() from None
        if not self.has_right_agreement(account):
            await self.restrict(account.id)
            raise refusals.recreate_required()
        if local_status(account) != "ready":
            raise refusals.not_onboarded("Stripe has payouts to this account disabled; see what it still needs.")
        return account

    def has_right_agreement(self, account: Account) -> bool:
        """Whether an account can receive transfers from ours."""
        required = required_agreement(self.platform_country, (account.country or "").upper())
        return agreement_of(service_agreement(account)) == required

    async def is_recipient(self, stripe_account_id: str) -> bool:
        """Whether an account is a recipient, whose money arrives a day later; raises StripeFailure."""
        payee = await self._store.read(lambda tx: payee_of_stripe_account(tx, stripe_account_id))
        country = payee.country if payee is not None else ""
        if not country:
            country = ((await self._stripe.account(stripe_account_id)).country or "").upper()
        return required_agreement(self.platform_country, country) == "recipient"

    async def mirror_linked(self, stripe_account_id: str) -> bool:
        """Bring our row of a linked account up to date; False when nobody is linked. Raises StripeFailure."""
        payee = await self._store.read(lambda tx: payee_of_stripe_account(tx, stripe_account_id))
        if payee is None:
            return False
        try:
            await self.read_live(stripe_account_id)
        except StripeRejected as rejected:
            if not rejected.is_gone:
                raise
            await self.unlink(payee.account_id, stripe_account_id)
        return True

    async def unlink(self, account_id: str, stripe_account_id: str) -> bool:
        """Forget a connected account; Stripe keeps it. False when it was not linked."""
        now = self._clock()
        return await self._store.write(
            lambda tx: unlink_account(tx, account_id, stripe_account_id=stripe_account_id, now=now)
        )

    async def restrict(self, stripe_account_id: str) -> None:
        """Note that an account cannot be paid as it is."""
        now = self._clock()
        await self._store.write(lambda tx: set_status(tx, stripe_account_id, "restricted", now))

    async def _heal(self, account: Account) -> None:
        """Set a manual schedule, under which money would stay at Stripe for ever, back to automatic."""
        if payout_interval(account) != "manual":
            return
        self._alerts("schedule_was_manual", stripe_account_id=account.id)
        try:
            await self._stripe.set_automatic_payouts(account.id, (account.country or "").upper())
        except StripeFailure as failure:
            _log.warning(
                "a manual payout schedule could not be changed; the reconciler tries again",
                extra={"stripe_account_id": account.id, "failure": type(failure).__name__},
            )
