"""What a heartbeat reports, applied to a session: slots, load of the machine, counters.

Most heartbeats of an idle provider say what the one before said. What did not change is recognised on the wire records
and left as it is; the result is the same as a full application, only cheaper.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from server.registry.clamps import (
    MAX_BUDGET,
    MAX_CONCURRENCY,
    MAX_DECODE_TPS,
    MAX_KV_RATE,
    MAX_LOAD_MS,
    MAX_MEMORY_GB,
    MAX_OBSERVED_PREFILL_TPS,
    MAX_POTENTIAL,
    MAX_REQUESTS,
    clamp,
    clamp_int,
    measured,
)
from server.registry.state import Budget, Live, Slot, SlotSource, SlotState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.messages.from_provider import BackendCapacity, Heartbeat, Stats
    from protocol.messages.from_provider import Slot as WireSlot
    from server.registry.state import ModelAd, Session

UPTIME_GAP: Final = 120.0
"""A longer silence between heartbeats earns no uptime (seconds)."""
_STATES: Final[Mapping[str, SlotState]] = {
    "running": SlotState.RESIDENT,
    "idle": SlotState.RESIDENT,
    "idle_shutdown": SlotState.EVICTED,
    "reloading": SlotState.LOADING,
    "crashed": SlotState.CRASHED,
}
_THERMAL: Final = frozenset({"nominal", "fair", "serious", "critical"})


def apply_report(session: Session, message: Heartbeat, *, draining_expiry: float, now: float) -> Mapping[str, Slot]:
    """Write a heartbeat into `live`, `slots` and the counters; returns the slots as they were before.

    The very same mapping stays in place when the reported slots are those of the last report.
    """
    before = session.slots
    capacity = message.backend_capacity
    if capacity is None:
        session.slots = _from_legacy(message, session.caps.models, before, now)
        session.reported = None
    else:
        reported = (capacity.slots, capacity.capacity_seq > 0)
        if reported != session.reported:
            session.slots = _from_capacity(capacity, session.caps.models, before, now)
            session.reported = reported
    session.live = _live(message, before=session.live, draining_expiry=draining_expiry, now=now)
    if message.stats != session.merged_stats:
        merge_counters(message.stats, session.counters, session.totals)
        session.merged_stats = message.stats
    return before


def _from_capacity(
    capacity: BackendCapacity, models: Mapping[str, ModelAd], previous: Mapping[str, Slot], now: float
) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    for wire in capacity.slots:
        if wire.model in models and wire.model not in slots:
            slots[wire.model] = _slot(wire, capacity.capacity_seq, previous.get(wire.model), now)
    return slots


def _slot(wire: WireSlot, seq: int, before: Slot | None, now: float) -> Slot:
    state = _STATES.get(wire.state, SlotState.ABSENT)
    budget_max, kv_rate = wire.active_token_budget_max, wire.kv_bytes_per_token
    used, queued = wire.active_token_budget_used, wire.queued_token_budget
    decode, prefill = wire.observed_decode_tps, wire.observed_prefill_tps
    running, waiting, potential = wire.num_running, wire.num_waiting, wire.max_tokens_potential
    concurrency, load_ms = wire.max_concurrency, wire.model_load_time_ms
    if not (
        0 <= budget_max <= MAX_BUDGET
        and 0 <= used <= MAX_BUDGET
        and 0 <= queued <= MAX_BUDGET
        and 0 <= kv_rate <= MAX_KV_RATE
        and 0 <= running <= MAX_REQUESTS
        and 0 <= waiting <= MAX_REQUESTS
        and 0 <= potential <= MAX_POTENTIAL
        and 0 <= concurrency <= MAX_CONCURRENCY
        and 0 <= load_ms <= MAX_LOAD_MS
    ):
        budget_max, used, queued = (clamp_int(one, MAX_BUDGET) for one in (budget_max, used, queued))
        running, waiting = clamp_int(running, MAX_REQUESTS), clamp_int(waiting, MAX_REQUESTS)
        kv_rate, potential = clamp_int(kv_rate, MAX_KV_RATE), clamp_int(potential, MAX_POTENTIAL)
        concurrency, load_ms = clamp_int(concurrency, MAX_CONCURRENCY), clamp_int(load_ms, MAX_LOAD_MS)
    if decode is None or not 0.0 <= decode <= MAX_DECODE_TPS:
        decode = clamp(decode, 0.0, MAX_DECODE_TPS)
    if prefill is None or not 0.0 <= prefill <= MAX_OBSERVED_PREFILL_TPS:
        prefill = measured(prefill, MAX_OBSERVED_PREFILL_TPS)
    since = None
    if state is SlotState.RESIDENT:
        since = before.resident_since if before is not None and before.resident_since is not None else now
    return Slot(
        wire.model,
        state,
        running,
        waiting,
        Budget(budget_max, used, queued) if budget_max or kv_rate else None,
        potential,
        kv_rate,
        decode,
        prefill,
        concurrency,
        load_ms,
        SlotSource.CAPACITY,
        max(0, seq),
        since,
    )


def resident_since(state: SlotState, before: Slot | None, now: float) -> float | None:
    """Keep the moment at which the weights were first seen resident."""
    if state is not SlotState.RESIDENT:
        return None
    return before.resident_since if before is not None and before.resident_since is not None else now


def _from_legacy(
    message: Heartbeat, models: Mapping[str, ModelAd], previous: Mapping[str, Slot], now: float
) -> dict[str, Slot]:
    active = message.active_model
    names = dict.fromkeys(message.warm_models)
    if active is not None:
        names.setdefault(active)
    return {
        model: Slot(
            model=model,
            state=SlotState.RESIDENT,
            running=1 if message.status == "serving" and model == active else 0,
            source=SlotSource.LEGACY,
            resident_since=resident_since(SlotState.RESIDENT, previous.get(model), now),
        )
        for model in names
        if model in models
    }


def _live(message: Heartbeat, *, before: Live, draining_expiry: float, now: float) -> Live:
    """Map liveness, load of the machine and memory; an absent capacity report clears the old figures."""
    gap = now - before.last_heartbeat
    capacity = message.backend_capacity
    metrics = message.system_metrics
    draining = before.draining_until
    if message.status == "draining":
        draining = now + draining_expiry
    elif message.status in {"idle", "serving"}:
        draining = None
    pressure, cpu = metrics.memory_pressure, metrics.cpu_usage
    seq, active, total = before.capacity_seq, 0.0, 0.0
    if capacity is not None:
        seq = capacity.capacity_seq if capacity.capacity_seq > 0 else seq
        active, total = capacity.gpu_memory_active_gb, capacity.total_memory_gb
    return Live(
        now,
        now,
        seq,
        capacity is not None,
        pressure if 0.0 <= pressure <= 1.0 else clamp(pressure, 0.0, 1.0),
        cpu if 0.0 <= cpu <= 1.0 else clamp(cpu, 0.0, 1.0),
        metrics.thermal_state if metrics.thermal_state in _THERMAL else "nominal",
        active if 0.0 <= active <= MAX_MEMORY_GB else clamp(active, 0.0, MAX_MEMORY_GB),
        total if 0.0 <= total <= MAX_MEMORY_GB else clamp(total, 0.0, MAX_MEMORY_GB),
        _free_for_load(capacity),
        draining,
        before.uptime_seconds + (gap if 0 < gap <= UPTIME_GAP else 0.0),
    )


def _free_for_load(capacity: BackendCapacity | None) -> float | None:
    """Absent, non-finite, negative or absurd reads as not reported; 0 is a real answer."""
    value = capacity.free_for_load_gb if capacity is not None else None
    if value is None or not math.isfinite(value) or value < 0 or value > MAX_MEMORY_GB:
        return None
    return value


def has_same_figures(one: Live, other: Live) -> bool:
    """Whether two reports say the same of load, memory, heat and leave."""
    return (
        one.cpu_usage == other.cpu_usage
        and one.memory_pressure == other.memory_pressure
        and one.gpu_active_gb == other.gpu_active_gb
        and one.free_for_load_gb == other.free_for_load_gb
        and one.thermal == other.thermal
        and one.draining_until == other.draining_until
        and one.total_memory_gb == other.total_memory_gb
        and one.has_capacity == other.has_capacity
    )


def is_repeated(message: Heartbeat, before: Live) -> bool:
    """Whether the report is not newer than the last applied one: then it only proves liveness."""
    capacity = message.backend_capacity
    return capacity is not None and 0 < capacity.capacity_seq <= before.capacity_seq


def counter_delta(current: int, previous: int) -> int:
    """Growth of a cumulative counter; a smaller value means that the process restarted."""
    if current <= 0:
        return 0
    return current - previous if current >= previous else current


_OPTIONAL_COUNTERS: Final = (
    "cancellations_received",
    "cancellations_before_output",
    "cancellations_partial_complete",
    "generation_errors_after_output",
    "chunk_encryption_errors",
    "stream_closed_without_terminal",
    "cancel_during_model_load",
    "usage_gaps",
)
_optional: Final = attrgetter(*_OPTIONAL_COUNTERS)


def merge_counters(stats: Stats, counters: dict[str, int], totals: dict[str, int]) -> None:
    """Add the growth since the last report to the lifetime totals, in place.

    A required counter of 0 sets the baseline back; an optional one that is 0 or absent keeps it.
    """
    _merge("requests_served", stats.requests_served, counters, totals)
    _merge("tokens_generated", stats.tokens_generated, counters, totals)
    for name, value in zip(_OPTIONAL_COUNTERS, _optional(stats), strict=True):
        if value > 0:
            _merge(name, value, counters, totals)


def _merge(name: str, value: int, counters: dict[str, int], totals: dict[str, int]) -> None:
    before = counters.get(name, 0)
    if value != before and (delta := counter_delta(value, before)):
        totals[name] = totals.get(name, 0) + delta
    counters[name] = max(0, value)
