"""Settings of second machines for late requests, and of the pool of warm machines."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.settings import boolean, duration, integer, number, setting


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Durations in seconds."""

    # --- hedging ---
    hedge: bool = setting(
        "HEDGE",
        boolean(),
        default=True,
        group="Hedging",
        meaning="Send a request that waits long for its first content to a second machine too, while some are idle.",
    )
    hedge_at: float = setting(
        "HEDGE_AT",
        number(0.05, 0.95),
        default=0.5,
        group="Hedging",
        meaning="Share of the time for the first content after which that happens.",
    )
    hedge_budget_divisor: int = setting(
        "HEDGE_BUDGET_DIVISOR",
        integer(1, 1_000),
        default=4,
        group="Hedging",
        meaning="At most one such request for this many idle places of a model.",
    )

    # --- warm pool ---
    warm_pool: bool = setting(
        "WARM_POOL",
        boolean(),
        default=True,
        group="Warm pool",
        meaning="Load models ahead on idle machines where requests find too few; false: only where nobody is warm.",
    )
    warm_pool_observe_only: bool = setting(
        "WARM_POOL_OBSERVE_ONLY",
        boolean(),
        default=False,
        group="Warm pool",
        meaning="Work out and log what would be loaded, and load nothing.",
    )
    warm_pool_interval: float = setting(
        "WARM_POOL_INTERVAL",
        duration(0.1, 3600),
        default=10.0,
        group="Warm pool",
        meaning="Time between two rounds; a shortage brings the next one forward.",
    )
    warm_pool_min_dwell: float = setting(
        "WARM_POOL_MIN_DWELL",
        duration(0, 86400),
        default=300.0,
        group="Warm pool",
        meaning="How long a target is kept when less would do.",
    )
    warm_pool_max_loads: int = setting(
        "WARM_POOL_MAX_LOADS",
        integer(0, 1_000),
        default=4,
        group="Warm pool",
        meaning="Missing machines of a model that are loaded at once, however few are missing; 0 loads none.",
    )
    warm_pool_gap_fraction: float = setting(
        "WARM_POOL_GAP_FRACTION",
        number(0.01, 1),
        default=0.5,
        group="Warm pool",
        meaning="Share of many missing machines that one round loads.",
    )
    warm_pool_ceiling: int = setting(
        "WARM_POOL_CEILING",
        integer(1, 10_000),
        default=16,
        group="Warm pool",
        meaning="Most loads of one model in one round.",
    )
    warm_pool_max_pending: int = setting(
        "WARM_POOL_MAX_PENDING",
        integer(0, 10_000),
        default=16,
        group="Warm pool",
        meaning="Most loads under way in the whole fleet; 0 loads none.",
    )
    warm_pool_forecast: bool = setting(
        "WARM_POOL_FORECAST",
        boolean(),
        default=True,
        group="Warm pool",
        meaning="Learn what each hour of the week needs, and have it loaded before the hour begins.",
    )
