"""Why a machine gets work or does not: every gate by name, room, price and faults, for its owner and for operators.

Bounded and free of content: at most `MODELS_MAX` models, gates from a closed list, the last fault events.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry.admission import fits_hardware, has_concurrency, largest_need, provider_cap
from server.registry.decision import CostTerms
from server.registry.gates import before_faults, weights_verified
from server.registry.price import candidate
from server.registry.reasons import HEALTH, Reason
from server.registry.request import RoutedRequest
from server.registry.speed import speed_of
from server.registry.state import SlotState
from server.registry.views import in_flight, in_flight_total, is_draining, status, total_memory_gb
from server.trust import is_fresh, meets_floor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.registry.fault_state import FaultEvent
    from server.registry.gates import GateContext
    from server.registry.machines import MachineRecord
    from server.registry.state import Session

MODELS_MAX: Final = 64
SAMPLE_PROMPT: Final = 500
SAMPLE_OUTPUT: Final = 256

HINTS: Final[Mapping[Reason, str]] = {
    Reason.NOT_SERVING_MODEL: "The model is not offered, or the catalogue does not accept this copy; load it again.",
    Reason.DEDICATED: "Machines that serve this family may serve no other; disable the other models.",
    Reason.DISPATCH_LOAD_COOLDOWN: "Loading the model failed for a request; it is tried again after two minutes.",
    Reason.ERROR_COOLDOWN: "Requests failed twice within a minute; look at the machine's log.",
    Reason.CAPACITY_COOLDOWN: "The machine refused work that it had reported room for; it is tried again soon.",
    Reason.BREAKER: "Too many requests failed lately; the machine is left alone for a while.",
    Reason.EJECTION: "Requests failed again and again; the machine is left alone for a while.",
    Reason.OFFLINE: "The connection is gone; start the machine's daemon.",
    Reason.DRAINING: "The machine asked for no new work; it returns with its next ordinary report.",
    Reason.STATE_RESTORING: "What is stored of the machine is being read; this takes seconds.",
    Reason.UNTRUSTED: "A security check failed; restart the daemon, and update it if this stays.",
    Reason.PRIVATE_ONLY: "The machine serves its owner alone; switch that off to earn.",
    Reason.TRUST_FLOOR: "The machine is not proven well enough for public requests; finish its enrolment.",
    Reason.RUNTIME_UNVERIFIED: "The program is not one of the known versions; update it.",
    Reason.MODEL_UNVERIFIED: "The weights are not confirmed to be the catalogue's; download the model again.",
    Reason.PRIVATE_TEXT: "The machine cannot take private text; update it and restart it.",
    Reason.CHALLENGE_STALE: "No security check passed for some minutes; look at the machine's connection.",
    Reason.TRAIT_FLOOR: "The model's chat template does not work on this machine; update it.",
    Reason.SLOT_CRASHED: "The model crashed; restart the daemon.",
    Reason.SLOT_RELOADING: "The model is being loaded.",
    Reason.THERMAL_CRITICAL: "The machine is too hot; let it cool down.",
    Reason.MODEL_TOO_LARGE: "The model can never fit into the machine's memory; choose a smaller one.",
    Reason.NO_HEADROOM: "As many requests run as the machine may hold at once.",
    Reason.FREE_MEMORY: "No memory is free for another request of ordinary size.",
}
"""What the owner can do about it, or what it means."""


class GateResult(Struct, frozen=True):
    """One gate for a small public request; `hint` is empty where it passes."""

    gate: Reason
    passed: bool
    hint: str = ""


class ModelWhy(Struct, frozen=True, kw_only=True):
    """One model on the machine; `reason` is the first gate that fails, None for a model that gets work.

    `room_tokens` is the largest request that fits, `limit` the most requests at once. `cost` is what a request of 500
    and 256 tokens would be priced at, in ms; rates are tokens/s. `next_change_seconds` is when time alone may open a
    fault gate.
    """

    model: str
    eligible: bool
    reason: Reason | None
    gates: tuple[GateResult, ...]
    state: str
    room_tokens: int
    in_flight: int
    limit: int
    decode_tps: float
    projected_tps: float
    estimated_ttft_ms: float | None
    cost_ms: float
    cost: CostTerms
    refusal_rate: float
    budget_clamped: bool
    budget_ceiling: int | None
    next_change_seconds: float | None


class FaultNote(Struct, frozen=True, kw_only=True):
    """Something that was held against the machine, and for how much longer."""

    kind: str
    model: str
    seconds_ago: float
    holds_seconds: float


class MachineWhy(Struct, frozen=True, kw_only=True):
    """All that routing has to say about one connected machine.

    `proven_success` is the share of jobs that surely succeeds: the lower end of what the counts allow.
    """

    provider_id: str
    status: str
    version: str
    trust_level: str
    heartbeat_seconds_ago: float
    in_flight: int
    limit: int
    memory_pressure: float
    cpu_usage: float
    thermal: str
    models: tuple[ModelWhy, ...]
    more_models: int
    faults: tuple[FaultNote, ...]
    reputation: float | None
    proven_success: float | None
    jobs_completed: int
    jobs_failed: int


def explain_machine(
    session: Session,
    context: GateContext,
    now: float,
    *,
    events: tuple[FaultEvent, ...] = (),
    record: MachineRecord | None = None,
) -> MachineWhy:
    """Report on a machine; `events` is what fault memory has noted of it, `record` what outlives its session."""
    live = session.live
    models = list(session.caps.models)
    return MachineWhy(
        provider_id=session.session_id,
        status=status(session, now),
        version=session.caps.version,
        trust_level=session.trust.level,
        heartbeat_seconds_ago=round(now - live.last_heartbeat, 3),
        in_flight=in_flight_total(session),
        limit=provider_cap(session),
        memory_pressure=live.memory_pressure,
        cpu_usage=live.cpu_usage,
        thermal=live.thermal,
        models=tuple(explain_model(session, model, context, now) for model in models[:MODELS_MAX]),
        more_models=max(0, len(models) - MODELS_MAX),
        faults=tuple(
            FaultNote(
                kind=event.kind,
                model=event.model,
                seconds_ago=round(now - event.at, 3),
                holds_seconds=round(max(0.0, event.until - now), 3) if event.until is not None else 0.0,
            )
            for event in events
        ),
        reputation=round(record.score, 4) if record is not None else None,
        proven_success=round(record.proven_success, 4) if record is not None else None,
        jobs_completed=record.jobs_ok if record is not None else 0,
        jobs_failed=record.jobs_failed if record is not None else 0,
    )


def explain_model(session: Session, model: str, context: GateContext, now: float) -> ModelWhy:
    """Report on one model that the machine offers."""
    gates = tuple(
        GateResult(reason, not failed, HINTS[reason] if failed else "")
        for reason, failed in _gates(session, model, context, now)
    )
    failed = next((one.gate for one in gates if not one.passed), None)
    sample = RoutedRequest(
        request_id="", logical_id="", model=model, prompt_tokens=SAMPLE_PROMPT, max_tokens=SAMPLE_OUTPUT
    )
    priced = candidate(session, sample, context, now)
    faults = context.faults.pair(session.ident.stable_id, model, now)
    slot = session.slot(model)
    room = largest_need(session, session.caps.models[model], slot, catalog=context.catalog, faults=faults)
    entry = session.entries.get(model)
    return ModelWhy(
        model=model,
        eligible=failed is None,
        reason=failed,
        gates=gates,
        state=slot.state.value,
        room_tokens=max(0, room),
        in_flight=in_flight(session, model),
        limit=entry.limit if entry is not None else 0,
        decode_tps=round(priced.tps, 2),
        projected_tps=round(priced.projected_tps, 2),
        estimated_ttft_ms=None if priced.ttft_ms is None else round(priced.ttft_ms, 1),
        cost_ms=priced.cost,
        cost=priced.terms,
        refusal_rate=faults.rate,
        budget_clamped=faults.clamped,
        budget_ceiling=faults.ceiling,
        next_change_seconds=None if math.isinf(faults.flip_at) else round(max(0.0, faults.flip_at - now), 3),
    )


def _gates(session: Session, model: str, context: GateContext, now: float) -> Iterator[tuple[Reason, bool]]:
    """Test every gate of a small public request by itself, in the order in which the first one decides."""
    caps, trust, policy, catalog = session.caps, session.trust, context.policy, context.catalog
    ad, slot = caps.models[model], session.slot(model)
    faults = context.faults.pair(session.ident.stable_id, model, now)
    before = before_faults(session, model, context, relaxed=False)
    yield Reason.NOT_SERVING_MODEL, before is Reason.NOT_SERVING_MODEL
    yield Reason.DEDICATED, before is Reason.DEDICATED
    yield Reason.DISPATCH_LOAD_COOLDOWN, faults.load_cooldown
    yield Reason.ERROR_COOLDOWN, "base" in faults.error_shapes
    yield Reason.CAPACITY_COOLDOWN, faults.capacity_cooldown
    for health in (Reason.BREAKER, Reason.EJECTION):
        yield health, health in HEALTH and faults.sick is health
    yield Reason.OFFLINE, not session.connected
    yield Reason.DRAINING, is_draining(session, now)
    yield Reason.STATE_RESTORING, session.restoring
    yield Reason.UNTRUSTED, trust.untrusted is not None
    yield Reason.PRIVATE_ONLY, caps.private_only
    yield Reason.TRUST_FLOOR, not meets_floor(trust, policy.min_trust)
    yield Reason.RUNTIME_UNVERIFIED, not trust.runtime_verified
    yield Reason.MODEL_UNVERIFIED, not weights_verified(session, model, catalog)
    yield Reason.PRIVATE_TEXT, not (trust.private_text and caps.public_key and caps.encrypted_chunks)
    yield Reason.CHALLENGE_STALE, not is_fresh(trust, now, max_age=policy.challenge_max_age)
    yield Reason.TRAIT_FLOOR, ad.template_render_ok is False
    yield Reason.SLOT_CRASHED, slot.state is SlotState.CRASHED
    yield Reason.SLOT_RELOADING, slot.state is SlotState.LOADING
    yield Reason.THERMAL_CRITICAL, session.live.thermal == "critical"
    fits = slot.state is SlotState.RESIDENT or fits_hardware(
        catalog.size_gb(ad), catalog.min_ram_gb(model), total_memory_gb(session)
    )
    yield Reason.MODEL_TOO_LARGE, not fits
    solo = speed_of(session, model, context).solo
    yield Reason.NO_HEADROOM, not has_concurrency(session, slot, model, solo=solo, policy=policy)
    room = largest_need(session, ad, slot, catalog=catalog, faults=faults)
    yield Reason.FREE_MEMORY, room < SAMPLE_PROMPT + SAMPLE_OUTPUT
