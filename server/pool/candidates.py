"""Which cold machines may load a model now, and which of them first. Pure.

Source: routing, cold spill and warm-pool controller.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from server.pool.summary import WALK_MAX
from server.registry.admission import fits_hardware
from server.registry.gates import evaluate
from server.registry.loads import is_pending, may_request
from server.registry.rates import static_tps
from server.registry.reasons import Reason
from server.registry.request import RoutedRequest
from server.registry.state import SlotState
from server.registry.views import in_flight_total, total_memory_gb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from server.pool.fleet_reader import FleetReader
    from server.registry.catalog import Catalog
    from server.registry.gates import GateContext
    from server.registry.loads import LoadDurations
    from server.registry.state import Session

THERMAL: Final[Mapping[str, float]] = {"fair": 250.0, "serious": 1_000.0}
USABLE_SHARE: Final = 0.9
"""Of a machine's memory; the rest is the system's."""
USUAL_SLOTS: Final = 3
"""Models that providers keep in memory at a time, unless their owners chose otherwise."""
LOAD_SECONDS_WEIGHT: Final = 10.0
"""Points for each second that a load on such a machine usually takes longer than nothing."""

NOT_SERVING: Final = "not_serving"
WARM: Final = "warm"
LOADING: Final = "loading"
BUSY: Final = "busy"
COOLDOWN: Final = "cooldown"
TOO_LARGE: Final = "too_large"
NO_ROOM: Final = "no_room"
LAST_COPY: Final = "last_copy"

_ROOM: Final = frozenset({Reason.FREE_MEMORY, Reason.NO_HEADROOM, Reason.TTFT_CEILING})
"""Gates that judge a request of this moment: a machine that loads is judged by its memory below."""


LOOK_MAX: Final = 256
"""Machines that are looked at for a second warm copy; in a fleet of that size there is one."""


class ColdMachine(NamedTuple):
    """A machine that may load the model, with its rank (higher is better) and whether another model must go for it."""

    session: Session
    score: float
    evicts: bool


class ColdSurvey(NamedTuple):
    """The machines that may load a model, best first, and how many may not, by reason."""

    machines: list[ColdMachine]
    disqualified: Counter[str]


def cold_machines(fleet: FleetReader, model: str, now: float, *, start: int = 0, limit: int = WALK_MAX) -> ColdSurvey:
    """Judge the machines of a fleet that offer a model, at most `limit` of them."""
    return survey(
        model,
        islice(fleet.offering(model), start, start + limit),
        fleet.gate_context,
        now,
        is_precious=lambda session, other: is_last_copy(fleet, session, other, now),
        durations=fleet.load_durations,
    )


def is_last_copy(fleet: FleetReader, session: Session, model: str, now: float) -> bool:
    """Whether the session holds the only warm copy of a model that was asked for lately."""
    if not fleet.demand.has_traffic(model, now):
        return False
    others = (one for one in fleet.offering(model) if one is not session)
    return not any(one.slot(model).state is SlotState.RESIDENT for one in islice(others, LOOK_MAX))


def survey(
    model: str,
    sessions: Iterable[Session],
    context: GateContext,
    now: float,
    *,
    is_precious: Callable[[Session, str], bool],
    durations: LoadDurations | None = None,
) -> ColdSurvey:
    """Judge machines that offer a model.

    `is_precious(session, other)` tells that the machine holds the only warm copy of another model in use: it is left
    alone unless both fit.
    """
    found: list[ColdMachine] = []
    reasons: Counter[str] = Counter()
    for session in sessions:
        reason = disqualification(session, model, context, now, is_precious=is_precious)
        if reason is None:
            evicts = must_evict(session, model, context.catalog) or len(_resident(session)) >= USUAL_SLOTS
            found.append(ColdMachine(session, rank(session, model, durations), evicts))
        else:
            reasons[reason] += 1
    # The session id makes the order the same whoever asks.
    found.sort(key=lambda one: (-one.score, one.session.session_id))
    return ColdSurvey(found, reasons)


def disqualification(
    session: Session,
    model: str,
    context: GateContext,
    now: float,
    *,
    is_precious: Callable[[Session, str], bool],
) -> str | None:
    """Say why a machine may not load the model now; None when it may."""
    if model not in session.caps.models:
        return NOT_SERVING
    slot = session.slot(model)
    if slot.state is SlotState.RESIDENT:
        return WARM
    if slot.state is SlotState.LOADING or any(is_pending(intent, now) for intent in session.loads.values()):
        return LOADING
    probe = RoutedRequest(request_id="", logical_id="", model=model, prompt_tokens=0, max_tokens=1)
    rejected = evaluate(session, probe, context, now)
    if rejected is not None and rejected not in _ROOM:
        return str(rejected)
    if in_flight_total(session):
        return BUSY
    if not may_request(session, model, now):
        return COOLDOWN
    return _memory(session, model, context.catalog, is_precious)


def _memory(session: Session, model: str, catalog: Catalog, is_precious: Callable[[Session, str], bool]) -> str | None:
    ad = session.caps.models[model]
    size, memory = catalog.size_gb(ad), total_memory_gb(session)
    if not fits_hardware(size, catalog.min_ram_gb(model), memory):
        return TOO_LARGE
    load, free = catalog.load_gib(ad), session.live.free_for_load_gb
    if free is not None and load > free:
        return NO_ROOM
    if must_evict(session, model, catalog) and any(is_precious(session, name) for name in _resident(session)):
        return LAST_COPY
    return None


def must_evict(session: Session, model: str, catalog: Catalog) -> bool:
    """Whether a machine that loads the model has to let go of another one."""
    models, resident = session.caps.models, _resident(session)
    load, memory = catalog.load_gib(models[model]), total_memory_gb(session)
    weights = sum(catalog.load_gib(models[name]) for name in resident if name in models)
    fits_beside = memory > 0 and load + max(weights, session.live.gpu_active_gb) <= USABLE_SHARE * memory
    return bool(resident) and not fits_beside


def _resident(session: Session) -> list[str]:
    return [name for name, slot in session.slots.items() if slot.state is SlotState.RESIDENT]


def rank(session: Session, model: str, durations: LoadDurations | None) -> float:
    """Points of a machine: much free memory, fast, calm, cool, and quick to load the model."""
    live = session.live
    free = live.free_for_load_gb
    if free is None:
        free = max(0.0, total_memory_gb(session) - live.gpu_active_gb)
    seconds = durations.known(model, session.caps.hardware.chip_class) if durations is not None else None
    return (
        100.0 * free
        + 10.0 * static_tps(session.caps)
        - 500.0 * live.memory_pressure
        - 100.0 * live.cpu_usage
        - THERMAL.get(live.thermal, 0.0)
        - LOAD_SECONDS_WEIGHT * (seconds or 0.0)
    )
