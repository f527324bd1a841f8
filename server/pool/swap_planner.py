"""Orders a load for requests that wait for a model which nobody has warm. Pure; used while the warm pool is off.

Source: routing, swap planner.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from server.pool.candidates import cold_machines
from server.pool.summary import WALK_MAX
from server.registry.gates import evaluate
from server.registry.loads import is_pending
from server.registry.reasons import CAPACITY, Reason
from server.registry.request import RoutedRequest
from server.registry.state import LoadCause, SlotState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.pool.fleet_reader import FleetReader
    from server.registry.gates import GateContext
    from server.registry.state import Session

_WARM_ENOUGH: Final = CAPACITY | {Reason.SLOT_RELOADING}


class LoadOrder(NamedTuple):
    """One model to be loaded on one machine."""

    session: Session
    model: str
    cause: LoadCause


def plan_swaps(fleet: FleetReader, now: float) -> list[LoadOrder]:
    """Look for a machine for each model that is waited for in vain: one order at most for a machine and for a model.

    Nothing is changed; whoever sends the orders notes them first.
    """
    orders: list[LoadOrder] = []
    taken: set[str] = set()
    for model in sorted(fleet.queued_models(), key=lambda one: (-fleet.queue_oldest_age(one, now), one)):
        offering = fleet.offering(model)
        if has_warm(model, offering, fleet.gate_context, now) or pending_by_model(offering, now)[model]:
            continue
        for one in cold_machines(fleet, model, now).machines:
            if one.session.session_id not in taken:
                taken.add(one.session.session_id)
                orders.append(LoadOrder(one.session, model, LoadCause.QUEUE))
                break
    return orders


def has_warm(model: str, sessions: Iterable[Session], context: GateContext, now: float) -> bool:
    """Whether a machine has the model warm, or loads it on its own, and passes every gate but room."""
    probe = RoutedRequest(request_id="", logical_id="", model=model, prompt_tokens=0, max_tokens=1)
    for session in islice(sessions, WALK_MAX):
        if session.slot(model).state not in (SlotState.RESIDENT, SlotState.LOADING):
            continue
        reason = evaluate(session, probe, context, now)
        if reason is None or reason in _WARM_ENOUGH:
            return True
    return False


def pending_by_model(sessions: Iterable[Session], now: float) -> Counter[str]:
    """Loads of all models that were ordered and have not ended."""
    loads = (load for session in sessions for load in session.loads.items())
    return Counter(model for model, intent in loads if is_pending(intent, now))
