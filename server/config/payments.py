"""Settings of payments: deposits by Stripe Checkout, payouts by Stripe Connect, and the mode that moves no money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.settings import Secret, boolean, secret, secrets, setting, text, url


@dataclass(frozen=True, kw_only=True)
class PaymentSettings:
    """Secrets are hidden in `repr`; several webhook secrets may be valid while one replaces the other."""

    stripe_secret_key: Secret | None = setting(
        "STRIPE_SECRET_KEY",
        secret(),
        default=None,
        group="Payments",
        meaning="Secret API key of the Stripe account; without it nothing can be bought or paid out.",
    )
    stripe_webhook_secret: tuple[Secret, ...] = setting(
        "STRIPE_WEBHOOK_SECRET",
        secrets(),
        default=(),
        group="Payments",
        meaning="Signing secrets of the endpoint for deposits; several during a rotation.",
    )
    stripe_success_url: str | None = setting(
        "STRIPE_SUCCESS_URL",
        url("http", "https"),
        default=None,
        group="Payments",
        meaning="Where Stripe sends a customer who paid.",
    )
    stripe_cancel_url: str | None = setting(
        "STRIPE_CANCEL_URL",
        url("http", "https"),
        default=None,
        group="Payments",
        meaning="Where Stripe sends a customer who gave up.",
    )
    stripe_connect_webhook_secret: tuple[Secret, ...] = setting(
        "STRIPE_CONNECT_WEBHOOK_SECRET",
        secrets(),
        default=(),
        group="Payments",
        meaning="Signing secrets of the endpoint for connected accounts; without one there are no payouts.",
    )
    stripe_connect_country: str = setting(
        "STRIPE_CONNECT_COUNTRY",
        text(),
        default="US",
        group="Payments",
        meaning="Country of the Stripe account, two letters; decides which agreement a payee needs.",
    )
    stripe_connect_return_url: str | None = setting(
        "STRIPE_CONNECT_RETURN_URL",
        url("http", "https"),
        default=None,
        group="Payments",
        meaning="Where Stripe sends a payee who finished; its host is the only one that callers may name.",
    )
    stripe_connect_refresh_url: str | None = setting(
        "STRIPE_CONNECT_REFRESH_URL",
        url("http", "https"),
        default=None,
        group="Payments",
        meaning="Where Stripe sends a payee whose link expired; by default the return URL.",
    )
    stripe_api_url: str | None = setting(
        "STRIPE_API_URL",
        url("http", "https"),
        default=None,
        group="Payments",
        meaning="Another address of the Stripe API, for tests; refused in production.",
    )
    billing_mock: bool = setting(
        "BILLING_MOCK",
        boolean(),
        default=False,
        group="Payments",
        meaning="Pretend to buy and to pay out without moving money; refused in production and with a Stripe key.",
    )


def payment_problems(settings: PaymentSettings, *, production: bool) -> Iterable[str]:
    """Name every rule about payments that is broken across settings."""
    if settings.billing_mock and settings.stripe_secret_key is not None:
        yield (
            "DARKBLOOM_BILLING_MOCK=true is refused together with DARKBLOOM_STRIPE_SECRET_KEY; "
            "unset the key, or unset DARKBLOOM_BILLING_MOCK."
        )
    if settings.billing_mock and production:
        yield (
            "DARKBLOOM_BILLING_MOCK=true is refused with DARKBLOOM_ENV=production; "
            "unset it, or set DARKBLOOM_ENV=development."
        )
    if settings.stripe_api_url is not None and production:
        yield "DARKBLOOM_STRIPE_API_URL is refused with DARKBLOOM_ENV=production; unset it."
    if len(settings.stripe_connect_country) != 2 or not settings.stripe_connect_country.isalpha():
        yield (
            f"DARKBLOOM_STRIPE_CONNECT_COUNTRY={settings.stripe_connect_country[:20]} is not accepted; "
            "write a country of two letters, such as US."
        )
    if settings.stripe_secret_key is None:
        return
    if not settings.stripe_webhook_secret and not settings.stripe_connect_webhook_secret:
        yield (
            "DARKBLOOM_STRIPE_SECRET_KEY needs DARKBLOOM_STRIPE_WEBHOOK_SECRET for deposits or "
            "DARKBLOOM_STRIPE_CONNECT_WEBHOOK_SECRET for payouts; set at least one of them."
        )
    if settings.stripe_webhook_secret and (settings.stripe_success_url is None or settings.stripe_cancel_url is None):
        yield (
            "Deposits need DARKBLOOM_STRIPE_SUCCESS_URL and DARKBLOOM_STRIPE_CANCEL_URL; set both, "
            "or unset DARKBLOOM_STRIPE_WEBHOOK_SECRET."
        )
    if settings.stripe_connect_webhook_secret and settings.stripe_connect_return_url is None and production:
        yield "Payouts in production need DARKBLOOM_STRIPE_CONNECT_RETURN_URL; set it to a page of the console."
