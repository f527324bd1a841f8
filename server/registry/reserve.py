"""Scan, choose and commit: the one path by which a request gets a place on a provider, free of checkpoints.

Invariant: a reservation is entered only after the full gate function passed in the same synchronous call, so caps and
budgets hold at every commit, whoever proposed the provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.registry.decision import Candidate, ChoicePath, Decision
from server.registry.gates import GateContext, evaluate
from server.registry.ledger import Reservation
from server.registry.price import candidate
from server.registry.select import choose, narrow
from server.registry.state import SlotState
from server.registry.walk import Priced, Scan, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from server.registry.ledger import ReleaseCause
    from server.registry.reasons import Reason
    from server.registry.request import RoutedRequest
    from server.registry.state import Session

    Releaser = Callable[[Reservation, ReleaseCause, float | None], None]


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
        # The full record of the choice, from the ledger as it was compared.
        winner = candidate(choice.winner.session, request, context, now)
        outcome = commit(choice.winner.session, request, context, now, releaser)
        if isinstance(outcome, Reservation):
            return decision(
                request,
                found,
                candidates,
                rejections,
                context,
                reservation=outcome,
                winner=winner,
                runner_up=choice.runner_up,
                path=choice.path,
            )
        rejections[outcome] = rejections.get(outcome, 0) + 1
        candidates = [one for one in candidates if one is not choice.winner]
    return decision(request, found, candidates, rejections, context)


def decision(
    request: RoutedRequest,
    found: Scan,
    candidates: Sequence[Priced],
    rejections: dict[Reason, int],
    context: GateContext,
    *,
    reservation: Reservation | None = None,
    winner: Candidate | None = None,
    runner_up: Priced | None = None,
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
