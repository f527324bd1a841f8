"""The full price of a request on one provider, term by term, as choosing compares it and the decision records it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.registry.cost import cost_v1
from server.registry.decision import Candidate
from server.registry.rates import (
    decode_tps,
    prefill_tps,
    projected_tps,
    registered_prefill_tps,
    static_tps,
    ttft_ms,
)
from server.registry.views import owned_by, total_memory_gb

if TYPE_CHECKING:
    from server.registry.gates import GateContext
    from server.registry.request import RoutedRequest
    from server.registry.state import Session


def candidate(session: Session, request: RoutedRequest, context: GateContext, now: float) -> Candidate:
    """Price the request on a provider that passed the gates."""
    model, policy = request.model, context.policy
    slot, caps, live = session.slot(model), session.caps, session.live
    sums = session.ledger.sums(model)
    static = static_tps(caps)
    registered = registered_prefill_tps(caps, static, policy)
    tps = decode_tps(slot, static, context.rates.decode_median(model, caps.hardware.chip_family), policy.load_factor)
    terms = cost_v1(
        slot,
        live=live,
        total_memory_gb=total_memory_gb(session),
        sums=sums,
        pending=len(session.ledger),
        prompt_tokens=request.prompt_tokens,
        max_tokens=request.max_tokens,
        tps=tps,
        prefill=registered,
        capacity_rate=context.faults.capacity_rate(session.ident.stable_id, model, now),
    )
    return Candidate(
        session=session,
        terms=terms,
        cost=terms.total,
        occupancy=max(sums.count, slot.occupancy),
        pending=len(session.ledger),
        ttft_ms=ttft_ms(
            slot,
            prompt_tokens=request.prompt_tokens,
            ledger_count=sums.count,
            prefill=prefill_tps(slot, registered),
            tps=tps,
            has_capacity=live.has_capacity,
        ),
        tps=tps,
        static_tps=static,
        projected_tps=projected_tps(slot, static, policy.load_factor),
        owned=owned_by(session, request.account_id),
    )
