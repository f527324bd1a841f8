"""Registration and heartbeat mapping: clamps of reported numbers, and how each kind of provider becomes slots."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from msgspec import structs

from protocol.semver import is_below
from server.registry.state import Budget, Caps, Hardware, Live, ModelAd, Slot, SlotSource, SlotState
from server.trust import NATIVE_BACKEND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from protocol.messages.from_provider import BackendCapacity, Heartbeat, ModelEntry, ModelsUpdate, Register, Stats
    from protocol.messages.from_provider import Slot as WireSlot
    from server.registry.catalog import Catalog
    from server.registry.policy import RoutingPolicy

log = logging.getLogger(__name__)

MAX_DECODE_TPS: Final = 500.0
MAX_REGISTERED_PREFILL_TPS: Final = 20_000.0
MAX_OBSERVED_PREFILL_TPS: Final = 20_000.0
MAX_BANDWIDTH_GBS: Final = 2_000.0
MAX_MEMORY_GB: Final = 1_024.0
MAX_POTENTIAL: Final = 1_000_000
MAX_CONCURRENCY: Final = 24
MAX_BUDGET: Final = 10**10
MAX_LOAD_MS: Final = 3_600_000
MAX_REQUESTS: Final = 100_000
MAX_KV_RATE: Final = 2**30
MAX_MODELS: Final = 1_024
UPTIME_GAP: Final = 120.0
"""A longer silence between heartbeats earns no uptime (seconds)."""
PRIVATE_GRANTS_FLOOR: Final = "0.7.5"
"""Reference version from which each slot owns its token budget."""
PRIVATE_GRANTS_FEATURE: Final = "private_token_grants"
TOOLS_FEATURE: Final = "tools"
TOOL_CONSTRAINT_FEATURE: Final = "tool_constraint"

_STATES: Final[Mapping[str, SlotState]] = {
    "running": SlotState.RESIDENT,
    "idle": SlotState.RESIDENT,
    "idle_shutdown": SlotState.EVICTED,
    "reloading": SlotState.LOADING,
    "crashed": SlotState.CRASHED,
}
_THERMAL: Final = frozenset({"nominal", "fair", "serious", "critical"})


def clamp(value: float | None, low: float, high: float) -> float:
    """Bound a reported number; absent, NaN and infinite values read as `low`."""
    if value is None or not math.isfinite(value):
        return low
    return min(high, max(low, value))


def clamp_int(value: int, high: int) -> int:
    """Bound a reported count to 0..high."""
    return min(high, max(0, value))


def measured(value: float | None, high: float) -> float:
    """Return a measured rate, or 0 (not measured) when it is outside 0..high; never clamp it up or down."""
    if value is None or not math.isfinite(value) or value < 0 or value > high:
        return 0.0
    return value


def _noted(name: str, value: float | None, high: float) -> float:
    kept = clamp(value, 0.0, high)
    if value is not None and kept != value:
        log.info("register_clamped", extra={"field": name, "kept": kept})
    return kept


def offered_models(models: Iterable[ModelEntry], constraint_models: Iterable[str]) -> tuple[ModelAd, ...]:
    """Map offered models; nameless ones are left out, of duplicates the first wins, at most `MAX_MODELS` are kept."""
    constrained = frozenset(constraint_models)
    kept: dict[str, ModelAd] = {}
    for entry in models:
        if not entry.id or entry.id in kept or len(kept) >= MAX_MODELS:
            log.warning("offered_model_dropped")
            continue
        kept[entry.id] = ModelAd(
            id=entry.id,
            size_bytes=max(0, entry.size_bytes),
            weight_hash=entry.weight_hash,
            is_vision=entry.is_vision,
            template_render_ok=entry.template_render_ok,
            estimated_memory_gb=clamp(entry.estimated_memory_gb, 0.0, MAX_MEMORY_GB),
            tool_constraint=entry.id in constrained,
        )
    return tuple(kept.values())


def accepted_models(offered: Iterable[ModelAd], catalog: Catalog) -> dict[str, ModelAd]:
    """Keep the offered models that the catalogue knows and does not contradict."""
    return {ad.id: ad for ad in offered if catalog.accepts(ad)}


def caps_from_register(message: Register, *, public_key: bytes, catalog: Catalog, policy: RoutingPolicy) -> Caps:
    """Map a `register` frame; numbers are clamped, never refused. `public_key` is the checked key or empty."""
    hardware = message.hardware
    features = frozenset(message.darkbloom.features) if message.darkbloom is not None else frozenset[str]()
    constrains = message.tool_constraint_protocol > 0 or TOOL_CONSTRAINT_FEATURE in features
    offered = offered_models(
        message.models, constraint_models(message.models, message.tool_constraint_models, constrains=constrains)
    )
    return Caps(
        hardware=Hardware(
            machine_model=hardware.machine_model,
            chip_name=hardware.chip_name,
            chip_family=hardware.chip_family or "Unknown",
            chip_tier=hardware.chip_tier or "Unknown",
            memory_gb=_noted("memory_gb", hardware.memory_gb, MAX_MEMORY_GB),
            memory_bandwidth_gbs=_noted("memory_bandwidth_gbs", hardware.memory_bandwidth_gbs, MAX_BANDWIDTH_GBS),
        ),
        models=accepted_models(offered, catalog),
        offered=offered,
        backend=message.backend,
        version=message.version,
        public_key=public_key if len(public_key) == 32 else b"",
        encrypted_chunks=message.encrypted_response_chunks,
        private_only=message.private_only,
        decode_tps=_noted("decode_tps", message.decode_tps, MAX_DECODE_TPS),
        prefill_tps=_noted("prefill_tps", message.prefill_tps, MAX_REGISTERED_PREFILL_TPS),
        features=features,
        tools_ok=_tools_ok(message, features, policy),
        private_grants=_private_grants(message, features),
    )


def constraint_models(models: Iterable[ModelEntry], named: tuple[str, ...], *, constrains: bool) -> tuple[str, ...]:
    """A provider with the protocol and no list constrains tools for every model it offers."""
    if not constrains:
        return ()
    return named or tuple(entry.id for entry in models)


def _tools_ok(message: Register, features: frozenset[str], policy: RoutingPolicy) -> bool:
    if policy.tools_min_version is None:
        return True
    if message.backend == NATIVE_BACKEND:
        return not is_below(message.version, policy.tools_min_version)
    return TOOLS_FEATURE in features


def _private_grants(message: Register, features: frozenset[str]) -> bool:
    if message.backend == NATIVE_BACKEND:
        return not is_below(message.version, PRIVATE_GRANTS_FLOOR)
    return PRIVATE_GRANTS_FEATURE in features


def caps_from_update(caps: Caps, message: ModelsUpdate, catalog: Catalog) -> Caps:
    """Replace the offered models: the update is the whole new inventory."""
    constrains = message.tool_constraint_protocol > 0 or TOOL_CONSTRAINT_FEATURE in caps.features
    offered = offered_models(
        message.models, constraint_models(message.models, message.tool_constraint_models, constrains=constrains)
    )
    return structs.replace(caps, models=accepted_models(offered, catalog), offered=offered)


def slots_from_heartbeat(
    message: Heartbeat, *, models: Mapping[str, ModelAd], previous: Mapping[str, Slot], now: float
) -> dict[str, Slot]:
    """Map one heartbeat to the session's slots; models the session does not offer are left out.

    A capacity report says everything; without one (legacy provider) the warm list and the active model are resident.
    """
    if message.backend_capacity is not None:
        return _from_capacity(message.backend_capacity, models, previous, now)
    return _from_legacy(message, models, previous, now)


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
    budget_max = clamp_int(wire.active_token_budget_max, MAX_BUDGET)
    kv_rate = clamp_int(wire.kv_bytes_per_token, MAX_KV_RATE)
    budget = None
    if budget_max or kv_rate:
        budget = Budget(
            max=budget_max,
            used=clamp_int(wire.active_token_budget_used, MAX_BUDGET),
            queued=clamp_int(wire.queued_token_budget, MAX_BUDGET),
        )
    return Slot(
        model=wire.model,
        state=state,
        running=clamp_int(wire.num_running, MAX_REQUESTS),
        waiting=clamp_int(wire.num_waiting, MAX_REQUESTS),
        budget=budget,
        potential=clamp_int(wire.max_tokens_potential, MAX_POTENTIAL),
        kv_rate=kv_rate,
        tps_decode=clamp(wire.observed_decode_tps, 0.0, MAX_DECODE_TPS),
        tps_prefill=measured(wire.observed_prefill_tps, MAX_OBSERVED_PREFILL_TPS),
        max_concurrency=clamp_int(wire.max_concurrency, MAX_CONCURRENCY),
        load_time_ms=clamp_int(wire.model_load_time_ms, MAX_LOAD_MS),
        source=SlotSource.CAPACITY,
        as_of_seq=max(0, seq),
        as_of=now,
        resident_since=resident_since(state, before, now),
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
            as_of=now,
            resident_since=resident_since(SlotState.RESIDENT, previous.get(model), now),
        )
        for model in names
        if model in models
    }


def live_from_heartbeat(message: Heartbeat, *, before: Live, draining_expiry: float, now: float) -> Live:
    """Map liveness, load of the machine and memory; an absent capacity report clears the old figures."""
    gap = now - before.last_heartbeat
    capacity = message.backend_capacity
    metrics = message.system_metrics
    draining = before.draining_until
    if message.status == "draining":
        draining = now + draining_expiry
    elif message.status in {"idle", "serving"}:
        draining = None
    return Live(
        last_heartbeat=now,
        capacity_seq=capacity.capacity_seq
        if capacity is not None and capacity.capacity_seq > 0
        else before.capacity_seq,
        has_capacity=capacity is not None,
        memory_pressure=clamp(metrics.memory_pressure, 0.0, 1.0),
        cpu_usage=clamp(metrics.cpu_usage, 0.0, 1.0),
        thermal=metrics.thermal_state if metrics.thermal_state in _THERMAL else "nominal",
        gpu_active_gb=clamp(capacity.gpu_memory_active_gb, 0.0, MAX_MEMORY_GB) if capacity is not None else 0.0,
        total_memory_gb=clamp(capacity.total_memory_gb, 0.0, MAX_MEMORY_GB) if capacity is not None else 0.0,
        free_for_load_gb=_free_for_load(capacity),
        draining_until=draining,
        uptime_seconds=before.uptime_seconds + (gap if 0 < gap <= UPTIME_GAP else 0.0),
    )


def _free_for_load(capacity: BackendCapacity | None) -> float | None:
    """Absent, non-finite, negative or absurd reads as not reported; 0 is a real answer."""
    value = capacity.free_for_load_gb if capacity is not None else None
    if value is None or not math.isfinite(value) or value < 0 or value > MAX_MEMORY_GB:
        return None
    return value


def is_repeated(message: Heartbeat, before: Live) -> bool:
    """Whether the report is not newer than the last applied one: then it only proves liveness."""
    capacity = message.backend_capacity
    return capacity is not None and 0 < capacity.capacity_seq <= before.capacity_seq


def counter_delta(current: int, previous: int) -> int:
    """Growth of a cumulative counter; a smaller value means that the process restarted."""
    if current <= 0:
        return 0
    return current - previous if current >= previous else current


_REQUIRED_COUNTERS: Final = ("requests_served", "tokens_generated")
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


def merge_counters(stats: Stats, counters: dict[str, int], totals: dict[str, int]) -> None:
    """Add the growth since the last report to the lifetime totals, in place.

    A required counter of 0 sets the baseline back; an optional one that is 0 or absent keeps it.
    """
    for name in _REQUIRED_COUNTERS:
        value: int = getattr(stats, name)
        _merge(name, value, counters, totals)
    for name in _OPTIONAL_COUNTERS:
        value = getattr(stats, name)
        if value > 0:
            _merge(name, value, counters, totals)


def _merge(name: str, value: int, counters: dict[str, int], totals: dict[str, int]) -> None:
    delta = counter_delta(value, counters.get(name, 0))
    if delta:
        totals[name] = totals.get(name, 0) + delta
    counters[name] = max(0, value)
