"""Countries of payees, and the Stripe agreement that an account needs to receive our transfers."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Agreement: TypeAlias = Literal["full", "recipient"]

_EU: Final = frozenset(
    (
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU"),
        *("LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    )
)
OFFERED: Final = _EU | {
    *("AE", "AU", "BR", "CA", "CH", "GB", "GH", "HK", "IN", "JP", "KE", "MX", "MY", "NG", "NO", "NZ", "SG", "TH", "US"),
}
"""Countries in which Stripe pays people out for us."""

_FULL_REGION: Final = _EU | {"US", "CA", "GB", "CH", "IS", "LI", "NO"}
WEEKLY_ONLY: Final = frozenset({"JP"})
"""Countries where Stripe offers no daily payouts."""


def required_agreement(platform_country: str, account_country: str) -> Agreement:
    """Return the agreement that an account of a country needs; it can never be changed afterwards.

    Accounts in the platform's own country, of no country yet, or within the region of free cross-border transfers are
    full accounts; all others can only be recipients.
    """
    if account_country in ("", platform_country):
        return "full"
    if platform_country in _FULL_REGION and account_country in _FULL_REGION:
        return "full"
    return "recipient"


def agreement_of(service_agreement: str | None) -> str:
    """Return the agreement that an account has; Stripe leaves the field out for full accounts."""
    return service_agreement or "full"
