"""Scan, choose and commit: the one path by which a request gets a place on a provider, free of checkpoints.

Invariant: a reservation is entered only after the full gate function passed in the same synchronous call, so caps and
budgets hold at every commit, whoever proposed the provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from server.registry.cost import cost_v1
from server.registry.decision import Candidate, ChoicePath, Decision
from server.registry.gates import GateContext, evaluate
from server.registry.ledger import Reservation
from server.registry.rates import (
    decode_tps,
    prefill_tps,
    projected_tps,
    registered_prefill_tps,
    static_tps,
    ttft_ms,
)
from server.registry.reasons import CAPACITY, HEALTH, Reason
from server.registry.select import choose, narrow
from server.registry.state import SlotState
from server.registry.views import owned_by, total_memory_gb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from server.registry.ledger import ReleaseCause
    from server.registry.request import RoutedRequest
    from server.registry.state import Session

    Releaser = Callable[[Reservation, ReleaseCause, float | None], None]


class Scan(Struct, frozen=True):
    """What one walk over the providers of a model found."""

    candidates: list[Candidate]
    rejections: dict[Reason, int]
    scanned: int
    fail_open: bool = False


def scan(sessions: Iterable[Session], request: RoutedRequest, context: GateContext, now: float) -> Scan:
    """Run gates and cost over the sessions; a second walk ignores breakers when only they stand in the way."""
    found = _walk(sessions, request, context, now)
    if found.candidates or context.ignore_health or not HEALTH & found.rejections.keys():
        return found
    if (CAPACITY | {Reason.TTFT_CEILING}) & found.rejections.keys():
        return found
    second = _walk(sessions, request, context.without_health(), now)
    return Scan(second.candidates, second.rejections, second.scanned, fail_open=True)


def _walk(sessions: Iterable[Session], request: RoutedRequest, context: GateContext, now: float) -> Scan:
    candidates: list[Candidate] = []
    rejections: dict[Reason, int] = {}
    scanned = 0
    for session in sessions:
        scanned += 1
        reason = evaluate(session, request, context, now)
        if reason is None:
            candidates.append(candidate(session, request, context, now))
        else:
            rejections[reason] = rejections.get(reason, 0) + 1
    return Scan(candidates, rejections, scanned)


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


def commit(
    session: Session, request: RoutedRequest, context: GateContext, now: float, releaser: Releaser
) -> Reservation | Reason:
    """Test every gate once more and enter the reservation, or return the reason why not."""
    reason = evaluate(session, request, context, now)
    if reason is not None:
        return reason
    slot = session.slot(request.model)
    reservation = Reservation(
        request_id=request.request_id,
        logical_id=request.logical_id,
        attempt=request.attempt,
        session_id=session.session_id,
        model=request.model,
        prompt_tokens=request.prompt_tokens,
        max_tokens=request.max_tokens,
        kv_rate=slot.kv_rate,
        reserved_at=now,
        cold=slot.state is not SlotState.RESIDENT,
        releaser=releaser,
    )
    session.ledger.add(reservation)
    session.touch()
    return reservation


def choose_and_commit(
    sessions: Iterable[Session],
    request: RoutedRequest,
    context: GateContext,
    now: float,
    *,
    random: Random,
    releaser: Releaser,
) -> Decision:
    """Scan, narrow, choose and reserve in one synchronous step; the decision says why when nothing was reserved."""
    found = scan(sessions, request, context, now)
    if found.fail_open:
        context = context.without_health()
    candidates, rejections = found.candidates, dict(found.rejections)
    while (choice := choose(narrow(candidates, request, context.policy), random)) is not None:
        outcome = commit(choice.winner.session, request, context, now, releaser)
        if isinstance(outcome, Reservation):
            return decision(
                request,
                found,
                candidates,
                rejections,
                context,
                reservation=outcome,
                winner=choice.winner,
                runner_up=choice.runner_up,
                path=choice.path,
            )
        rejections[outcome] = rejections.get(outcome, 0) + 1
        candidates = [one for one in candidates if one is not choice.winner]
    return decision(request, found, candidates, rejections, context)


def decision(
    request: RoutedRequest,
    found: Scan,
    candidates: Sequence[Candidate],
    rejections: dict[Reason, int],
    context: GateContext,
    *,
    reservation: Reservation | None = None,
    winner: Candidate | None = None,
    runner_up: Candidate | None = None,
    path: ChoicePath = ChoicePath.NONE,
) -> Decision:
    """Build the record of a scan and its outcome."""
    estimates = [one.ttft_ms for one in candidates if one.ttft_ms is not None]
    deadline = context.policy.first_content_deadline_ms(request.prompt_tokens)
    return Decision(
        request_id=request.request_id,
        model=request.model,
        reservation=reservation,
        winner=winner,
        runner_up=runner_up,
        path=path,
        candidates=len(candidates),
        scanned=found.scanned,
        rejections=rejections,
        best_ttft_ms=min(estimates, default=None),
        has_ttft=bool(candidates) and len(estimates) == len(candidates),
        ttft_miss=winner is not None and winner.ttft_ms is not None and winner.ttft_ms > deadline,
        fail_open=found.fail_open,
    )
