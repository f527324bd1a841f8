"""The heartbeat as a pure function of one measurement of engine, memory and machine."""

from collections.abc import Sequence

import msgspec

from protocol.messages.from_provider import (
    BackendCapacity,
    CapacityTelemetry,
    Heartbeat,
    Slot,
    Stats,
    SystemMetrics,
)
from provider.memory.capacity import Capacity, SlotCapacity
from provider.memory.pressure import Pressure


def build_heartbeat(
    *,
    capacity: Capacity,
    capacity_seq: int,
    warm_models: Sequence[str],
    loading_models: Sequence[str],
    in_flight: int,
    is_draining: bool,
    stats: Stats,
    metrics: SystemMetrics,
    telemetry: CapacityTelemetry | None = None,
    idle_unload_minutes: float | None = None,
) -> Heartbeat:
    """Write one heartbeat; a model that is being loaded has a slot in state `reloading`.

    `idle_unload_minutes` 0 means that unused models stay loaded.

    Source: provider rules, capacity reporting.
    """
    slots = [_slot(slot) for slot in capacity.slots]
    present = {slot.model for slot in slots}
    slots += [Slot(model=model, state="reloading") for model in loading_models if model not in present]
    active = next((slot.model for slot in slots if slot.num_running > 0), None)
    busy = in_flight > 0 or active is not None
    return Heartbeat(
        status="draining" if is_draining else "serving" if busy else "idle",
        active_model=active,
        stats=stats,
        warm_models=tuple(sorted(warm_models)),
        system_metrics=metrics,
        backend_capacity=BackendCapacity(
            slots=tuple(slots),
            gpu_memory_active_gb=capacity.gpu_memory_active_gb,
            gpu_memory_peak_gb=capacity.gpu_memory_peak_gb,
            gpu_memory_cache_gb=capacity.gpu_memory_cache_gb,
            total_memory_gb=capacity.total_memory_gb,
            free_for_load_gb=capacity.free_for_load_gb,
            capacity_seq=capacity_seq,
            telemetry=telemetry,
        ),
        idle_unload_mins=idle_unload_minutes,
    )


def build_telemetry(
    *, pressure: Pressure, low_power: bool | None, received: int, in_engine: int, admitted: int
) -> CapacityTelemetry:
    """Write what is measured about the machine and its requests besides the capacity.

    `received` requests have no terminal yet, `admitted` of them hold their model, `in_engine` of them have a row.
    """
    return CapacityTelemetry(
        low_power_mode=low_power,
        memory_pressure_level=pressure.name.lower(),
        in_admission=max(0, received - in_engine),
        inflight_tasks=admitted,
    )


def _slot(slot: SlotCapacity) -> Slot:
    fields = msgspec.structs.asdict(slot)
    fields["model_load_time_ms"] = round(slot.model_load_time_ms)
    return Slot(**fields)
