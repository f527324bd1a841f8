"""All of payments in one record, built from the settings; what is not configured is absent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from server.payments.alerts import Alerts, PaymentsMeter
from server.payments.connect_events import CONNECT_EVENTS, ConnectEvents
from server.payments.deposit_events import DEPOSIT_EVENTS, DepositEvents
from server.payments.deposits import DepositPages, Deposits, Referrals
from server.payments.first_withdrawals import FirstWithdrawals
from server.payments.mock_stripe import MockStripe
from server.payments.onboarding import Onboarding, OnboardingPages
from server.payments.payee_accounts import PayeeAccounts
from server.payments.reconciler import Reconciler
from server.payments.takebacks import Takebacks
from server.payments.webhooks import WebhookDesk
from server.payments.withdrawal_steps import WithdrawalSteps
from server.payments.withdrawals import Withdrawals

if TYPE_CHECKING:
    from server.config.payments import PaymentSettings
    from server.payments.sending import Pause
    from server.payments.stripe_api import StripeApi
    from server.store import Store

_MOCK_PAGE: Final = "http://localhost/billing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payouts:
    """What paying out needs."""

    accounts: PayeeAccounts
    onboarding: Onboarding
    withdrawals: Withdrawals
    reconciler: Reconciler


@dataclass(frozen=True, slots=True, kw_only=True)
class Payments:
    """The parts that are configured. A webhook desk without a secret is absent, so that its endpoint refuses."""

    deposits: Deposits | None = None
    deposit_hooks: WebhookDesk | None = None
    payouts: Payouts | None = None
    connect_hooks: WebhookDesk | None = None
    mock: bool = False


@asynccontextmanager
async def open_payments(
    settings: PaymentSettings,
    *,
    store: Store,
    meter: PaymentsMeter,
    clock: Callable[[], int],
    coordinator_host: str,
    referrals: Referrals | None = None,
) -> AsyncGenerator[Payments, None]:
    """Yield what the settings configure, and close the connections to Stripe afterwards. `clock` gives microseconds."""

    def built(stripe: StripeApi) -> Payments:
        return build_payments(
            settings,
            store=store,
            stripe=stripe,
            meter=meter,
            clock=clock,
            coordinator_host=coordinator_host,
            referrals=referrals,
        )

    if settings.billing_mock:
        yield built(MockStripe(clock=clock))
        return
    if settings.stripe_secret_key is None:
        yield Payments()
        return
    # Loading the library takes a while; coordinators without payments do without it.
    from server.payments.stripe_client import StripeClient

    client = StripeClient(settings.stripe_secret_key, api_url=settings.stripe_api_url)
    try:
        yield built(client)
    finally:
        with trio.move_on_after(2, shield=True):
            await client.aclose()


def build_payments(
    settings: PaymentSettings,
    *,
    store: Store,
    stripe: StripeApi,
    meter: PaymentsMeter,
    clock: Callable[[], int],
    coordinator_host: str,
    referrals: Referrals | None = None,
    pause: Pause = trio.sleep,
) -> Payments:
    """Build the parts over one Stripe."""
    alerts = Alerts(meter)
    mock = settings.billing_mock
    accounts = PayeeAccounts(
        store=store, stripe=stripe, alerts=alerts, clock=clock, platform_country=settings.stripe_connect_country
    )
    connect = ConnectEvents(store=store, stripe=stripe, accounts=accounts, alerts=alerts, clock=clock)
    pays_out = mock or bool(settings.stripe_connect_webhook_secret)
    deposits = None
    if mock or settings.stripe_webhook_secret:
        deposits = Deposits(
            store=store,
            stripe=stripe,
            pages=DepositPages(
                success_url=settings.stripe_success_url or _MOCK_PAGE,
                cancel_url=settings.stripe_cancel_url or _MOCK_PAGE,
                coordinator_host=coordinator_host,
            ),
            clock=clock,
            referrals=referrals,
            pretend=mock,
        )
    deposit_hooks = connect_hooks = None
    if deposits is not None and settings.stripe_webhook_secret:
        takebacks = Takebacks(store=store, stripe=stripe, alerts=alerts, clock=clock)
        deposit_hooks = WebhookDesk(
            endpoint="deposits",
            secrets=settings.stripe_webhook_secret,
            handled=DEPOSIT_EVENTS,
            handler=DepositEvents(
                deposits=deposits, takebacks=takebacks, alerts=alerts, connect=connect if pays_out else None
            ).handle,
            store=store,
            meter=meter,
            clock=clock,
            lenient=False,
        )
    if settings.stripe_connect_webhook_secret:
        connect_hooks = WebhookDesk(
            endpoint="connect",
            secrets=settings.stripe_connect_webhook_secret,
            handled=CONNECT_EVENTS,
            handler=connect.handle,
            store=store,
            meter=meter,
            clock=clock,
            lenient=True,
        )
    payouts = None
    if pays_out:
        steps = WithdrawalSteps(store=store, stripe=stripe, accounts=accounts, alerts=alerts, clock=clock, pause=pause)
        payouts = Payouts(
            accounts=accounts,
            onboarding=Onboarding(
                store=store,
                stripe=stripe,
                accounts=accounts,
                pages=OnboardingPages(
                    return_url=settings.stripe_connect_return_url or (_MOCK_PAGE if mock else None),
                    refresh_url=settings.stripe_connect_refresh_url,
                ),
                clock=clock,
            ),
            withdrawals=Withdrawals(
                store=store,
                accounts=accounts,
                steps=steps,
                reviews=FirstWithdrawals(store=store, alerts=alerts, clock=clock),
                clock=clock,
            ),
            reconciler=Reconciler(store=store, steps=steps, accounts=accounts, alerts=alerts, clock=clock),
        )
    return Payments(
        deposits=deposits, deposit_hooks=deposit_hooks, payouts=payouts, connect_hooks=connect_hooks, mock=mock
    )
