"""Settings of prices, fees and holds."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.settings import duration, integer, setting


@dataclass(frozen=True, kw_only=True)
class BillingSettings:
    """Money in micro-USD, percentages 0..100, durations in seconds."""

    # --- billing ---
    platform_fee_percent: int = setting(
        "PLATFORM_FEE_PERCENT",
        integer(0, 100),
        default=0,
        group="Billing",
        meaning="Share of a charge that the platform keeps, unless the machine's owner has a fee of its own.",
    )
    referral_share_percent: int = setting(
        "REFERRAL_SHARE_PERCENT",
        integer(1, 50),
        default=20,
        group="Billing",
        meaning="Share of the platform's fee that goes to whoever referred the consumer.",
    )
    minimum_charge_micro: int = setting(
        "MINIMUM_CHARGE_MICRO",
        integer(0, 1_000_000),
        default=100,
        group="Billing",
        meaning="Least charge of a request that used tokens, in micro-USD; not for wholesale partners.",
    )
    cache_read_discount_percent: int = setting(
        "CACHE_READ_DISCOUNT_PERCENT",
        integer(0, 100),
        default=50,
        group="Billing",
        meaning="Discount on cached prompt tokens where a price names none; 0: no discount.",
    )
    max_price_multiple: int = setting(
        "MAX_PRICE_MULTIPLE",
        integer(1, 1000),
        default=5,
        group="Billing",
        meaning="How many times the platform's price a machine's owner may ask for.",
    )
    reservation_ttl: float = setting(
        "RESERVATION_TTL",
        duration(60, 86400),
        default=900.0,
        group="Billing",
        meaning="How long the hold of a request outlives a coordinator that crashed; living requests extend theirs.",
    )
