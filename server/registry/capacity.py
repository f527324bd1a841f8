"""Public capacity numbers per model, from the same gates and caps that routing uses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry.admission import has_concurrency
from server.registry.gates import GateContext, evaluate
from server.registry.rates import decode_tps, prefill_tps, registered_prefill_tps, static_tps
from server.registry.reasons import CAPACITY, Reason
from server.registry.request import RoutedRequest
from server.registry.state import SlotState
from server.registry.views import in_flight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.registry.state import Session, Slot

PROBE_PROMPT: Final = 500
COLD_MS: Final = 20_000


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


def model_capacity(
    model: str, sessions: Iterable[Session], context: GateContext, *, queued: int, now: float
) -> ModelCapacity | None:
    """Sum up the providers that pass every gate for a small public request, room aside; None when there is none."""
    probe = RoutedRequest(request_id="", logical_id="", model=model, prompt_tokens=0, max_tokens=1)
    routable = warm = running = cold = active = remaining = total = 0
    aggregate = 0.0
    best_warm: int | None = None
    best_cold: int | None = None
    for session in sessions:
        reason = evaluate(session, probe, context, now)
        if reason is not None and (reason not in CAPACITY or reason is Reason.DRAINING):
            continue
        slot = session.slot(model)
        resident = slot.state is SlotState.RESIDENT
        if resident:
            warm += 1
            running += 1 if slot.running > 0 else 0
        else:
            cold += 1
        if reason is None and _has_room(session, slot, model, context):
            routable += 1
        active += in_flight(session, model)
        static = static_tps(session.caps)
        aggregate += slot.tps_decode or static
        if slot.budget is not None and resident:
            total += slot.budget.max
            remaining += _remaining(session, slot)
        estimate = _ttft(session, slot, model, static, context)
        if resident:
            best_warm = estimate if best_warm is None else min(best_warm, estimate)
        else:
            best_cold = estimate if best_cold is None else min(best_cold, estimate)
    if not warm + cold:
        return None
    ttft = best_warm if best_warm is not None else best_cold
    limit = context.policy.queue_max_depth
    return ModelCapacity(
        id=model,
        ready=routable > 0,
        can_accept=routable > 0,
        routable_providers=routable,
        warm_providers=warm,
        running_providers=running,
        cold_providers=cold,
        active_requests=active,
        queued_requests=queued,
        queue_limit=limit,
        aggregate_tps=aggregate,
        estimated_ttft_ms=ttft or 0,
        token_budget_remaining=remaining,
        token_budget_total=total,
    )


def _has_room(session: Session, slot: Slot, model: str, context: GateContext) -> bool:
    if not has_concurrency(session, slot, model, rates=context.rates, policy=context.policy):
        return False
    budget = slot.budget if slot.state is SlotState.RESIDENT else None
    return budget is None or (budget.used + budget.queued < budget.max and _remaining(session, slot) > 0)


def _remaining(session: Session, slot: Slot) -> int:
    """Free tokens of a slot, no more than the machine as a whole has left."""
    if slot.budget is None:
        return 0
    free = max(0, slot.budget.max - slot.budget.used - slot.budget.queued)
    if session.caps.private_grants:
        return free
    budgets = [one.budget for one in session.slots.values() if one.budget is not None]
    return min(free, max((b.max - b.used - b.queued for b in budgets), default=0))


def _ttft(session: Session, slot: Slot, model: str, static: float, context: GateContext) -> int:
    """Whole ms until the first token of a 500-token prompt behind the worst case of what runs."""
    prefill = prefill_tps(slot, registered_prefill_tps(session.caps, static, context.policy))
    median = context.rates.decode_median(model, session.caps.hardware.chip_family)
    tps = decode_tps(slot, static, median, context.policy.load_factor)
    milliseconds = math.trunc(PROBE_PROMPT / prefill * 1000) + math.trunc(slot.potential / tps * 1000)
    return milliseconds if slot.state is SlotState.RESIDENT else milliseconds + COLD_MS
