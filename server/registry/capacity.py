"""Public capacity numbers per model, from the running sums of the routing index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from server.registry.pool import Pool


class ModelCapacity(Struct, frozen=True, kw_only=True):
    """One row of the capacity endpoint; times in ms, rates in tokens/s, budgets in charged tokens."""

    id: str
    ready: bool
    can_accept: bool
    routable_providers: int
    warm_providers: int
    running_providers: int
    cold_providers: int
    active_requests: int
    queued_requests: int
    queue_limit: int
    aggregate_tps: float
    estimated_ttft_ms: int
    token_budget_remaining: int
    token_budget_total: int


def model_capacity(pool: Pool, *, queued: int, limit: int) -> ModelCapacity | None:
    """Sum up the providers that pass every gate for a small public request, room aside; None when there is none."""
    total = pool.sums.total
    if not total.warm + total.cold:
        return None
    return ModelCapacity(
        id=pool.model,
        ready=total.routable > 0,
        can_accept=total.routable > 0,
        routable_providers=total.routable,
        warm_providers=total.warm,
        running_providers=total.busy,
        cold_providers=total.cold,
        active_requests=total.active,
        queued_requests=queued,
        queue_limit=limit,
        aggregate_tps=total.milli_tps / 1000,
        estimated_ttft_ms=pool.sums.estimated_ttft_ms(),
        token_budget_remaining=total.budget_left,
        token_budget_total=total.budget,
    )
