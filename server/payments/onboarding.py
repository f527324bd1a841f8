"""Getting a payee ready: a connected account of the right country and agreement, and Stripe's pages for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from server.payments import refusals
from server.payments.account_status import view_of
from server.payments.countries import OFFERED, required_agreement
from server.payments.failures import StripeFailure, StripeRejected
from server.payments.payees import link_account
from server.payments.redirects import is_safe_redirect
from server.payments.stripe_api import NewAccount

if TYPE_CHECKING:
    from server.payments.payee_accounts import PayeeAccounts
    from server.payments.payees import Payee
    from server.payments.stripe_api import StripeApi
    from server.payments.stripe_objects import Account
    from server.store import Store

_CREATION_WINDOW_US: Final = 3_600_000_000
"""Tries within an hour share one key and so make one account; later ones are not bound to an old failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardingPages:
    """Where Stripe sends a payee; None without configuration."""

    return_url: str | None
    refresh_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """The page to open next, and the account it belongs to."""

    url: str
    stripe_account_id: str
    status: str


class Onboarding:
    """Makes accounts and links. `clock` gives microseconds."""

    def __init__(
        self,
        *,
        store: Store,
        stripe: StripeApi,
        accounts: PayeeAccounts,
        pages: OnboardingPages,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._stripe = stripe
        self._accounts = accounts
        self._pages = pages
        self._clock = clock

    async def begin(
        self, account_id: str, *, country: str, return_url: str | None, refresh_url: str | None
    ) -> Onboarded:
        """Return a page on which the payee goes on; raises ApiError 400, 401 or 502."""
        country = country.strip().upper()
        if country and country not in OFFERED:
            raise refusals.country_not_offered(country)
        back = self._checked("return_url", return_url, self._pages.return_url)
        again = self._checked("refresh_url", refresh_url, self._pages.refresh_url or back)
        payee = await self._accounts.payee(account_id)
        try:
            account = await self._usable(payee, country)
            if account is None:
                account = await self._create(payee, country)
            url = await self._stripe.onboarding_url(account.id, return_url=back, refresh_url=again)
        except StripeFailure:
            raise refusals.stripe_failed() from None
        return Onboarded(url=url, stripe_account_id=account.id, status=view_of(account).status)

    async def dashboard(self, account_id: str) -> str:
        """Return a link to the payee's Express dashboard; raises ApiError 401, 403, 409 or 502."""
        payee = await self._accounts.payee(account_id)
        if not payee.stripe_account_id:
            raise refusals.not_onboarded()
        try:
            return await self._stripe.dashboard_url(payee.stripe_account_id)
        except StripeRejected as rejected:
            if not rejected.is_gone:
                raise refusals.stripe_failed() from None
            await self._accounts.unlink(account_id, payee.stripe_account_id)
            raise refusals.account_gone() from None
        except StripeFailure:
            raise refusals.stripe_failed() from None

    async def unlink(self, account_id: str) -> bool:
        """Forget the payee's account, here only; raises ApiError 401."""
        payee = await self._accounts.payee(account_id)
        return await self._accounts.unlink(account_id, payee.stripe_account_id)

    async def _usable(self, payee: Payee, country: str) -> Account | None:
        """Return the linked account when it can be kept; None when a new one is needed."""
        if not payee.stripe_account_id:
            return None
        try:
            account = await self._accounts.read_live(payee.stripe_account_id)
        except StripeRejected as rejected:
            if rejected.is_gone:
                return None
            raise
        moved = country not in ("", (account.country or "").upper())
        return None if moved or not self._accounts.has_right_agreement(account) else account

    async def _create(self, payee: Payee, country: str) -> Account:
        country = country or payee.country
        if not country:
            raise refusals.country_needed()
        agreement = required_agreement(self._accounts.platform_country, country)
        now = self._clock()
        what = (payee.stripe_account_id, payee.email, country, agreement, str(now // _CREATION_WINDOW_US))
        account = await self._stripe.create_account(
            NewAccount(
                account_id=payee.account_id,
                email=payee.email,
                country=country,
                agreement=agreement,
                nonce=hashlib.sha256("\0".join(what).encode()).hexdigest()[:24],
            )
        )
        view = view_of(account)
        linked = await self._store.write(
            lambda tx: link_account(tx, payee.account_id, before=payee.stripe_account_id, view=view, now=now)
        )
        if linked:
            return account
        # Somebody else linked an account in the meantime; both may well have made the same one.
        current = await self._accounts.payee(payee.account_id)
        if not current.stripe_account_id:
            raise refusals.stripe_failed("The payout account was changed meanwhile; try again.")
        return await self._stripe.account(current.stripe_account_id)

    def _checked(self, param: str, wanted: str | None, configured: str | None) -> str:
        """Return where to send the payee; raises ApiError 400 for a place outside the console, or for none."""
        target = wanted or configured
        if target is None or (target != configured and not is_safe_redirect(target, configured=self._pages.return_url)):
            raise refusals.unsafe_redirect(param)
        return target
