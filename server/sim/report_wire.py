"""What a simulated machine says on the wire: its registration and its heartbeats, as real messages."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

from protocol.messages.from_provider import (
    BackendCapacity,
    Hardware,
    Heartbeat,
    ModelEntry,
    PrivacyCapabilities,
    Register,
    Stats,
    SystemMetrics,
)
from protocol.messages.from_provider import Slot as WireSlot
from server.sim.slots import ModelSlot, Residence, free_for_load_gib
from server.trust import NATIVE_BACKEND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.sim.catalog import SimModel
    from server.sim.engine import Engine
    from server.sim.fleet import MachineSpec

KEY: Final = bytes(range(32))
"""A simulated machine's public key: never used to seal anything."""
CAPABILITIES: Final = PrivacyCapabilities(
    text_backend_inprocess=True,
    text_proxy_disabled=True,
    python_runtime_locked=True,
    dangerous_modules_blocked=True,
    sip_enabled=True,
    anti_debug_enabled=True,
    core_dumps_disabled=True,
    env_scrubbed=True,
)


def registration(spec: MachineSpec, models: Mapping[str, SimModel], version: str) -> Register:
    """The first frame of a connection."""
    return Register(
        hardware=Hardware(
            chip_family=spec.chip_family,
            chip_tier=spec.chip_tier,
            memory_gb=int(spec.mem),
            memory_bandwidth_gbs=spec.bw,
        ),
        models=tuple(
            ModelEntry(id=name, size_bytes=int(models[name].size_gb * 1e9)) for name in spec.models if name in models
        ),
        backend=NATIVE_BACKEND,
        version=version,
        public_key=b64encode(KEY).decode(),
        encrypted_response_chunks=True,
        privacy_capabilities=CAPABILITIES,
        decode_tps=spec.decode,
        prefill_tps=spec.prefill,
    )


def heartbeat(engine: Engine, *, sequence: int, draining: bool) -> Heartbeat:
    """The report of this moment."""
    spec = engine.spec
    slots = engine.slots
    resident = [slot.model for slot in slots.values()]
    used = engine.used_bytes
    weights = sum(slot.model.size_gb for slot in slots.values() if slot.residence is Residence.RESIDENT) * 1e9 / 2**30
    active = weights + used / 2**30
    busy = engine.is_busy
    return Heartbeat(
        status="draining" if draining else "serving" if busy else "idle",
        warm_models=tuple(name for name, slot in slots.items() if slot.residence is Residence.RESIDENT),
        stats=Stats(requests_served=engine.served, tokens_generated=engine.tokens),
        system_metrics=SystemMetrics(
            memory_pressure=min(1.0, 0.5 * active / spec.mem),
            cpu_usage=0.2 if busy else 0.05,
            thermal_state="nominal" if engine.speed >= 0.95 else "serious",
        ),
        backend_capacity=BackendCapacity(
            slots=tuple(_slot(engine, slot) for slot in slots.values()),
            gpu_memory_active_gb=active,
            total_memory_gb=spec.mem,
            free_for_load_gb=free_for_load_gib(spec.mem, resident, used),
            capacity_seq=sequence,
        ),
    )


def _slot(engine: Engine, slot: ModelSlot) -> WireSlot:
    spec = engine.spec
    boast = 1.0 if spec.candid else 1.0 / spec.honesty
    resident = slot.residence is Residence.RESIDENT
    return WireSlot(
        model=slot.model.id,
        state=slot.wire_state,
        num_running=slot.running,
        num_waiting=len(slot.waiting),
        max_concurrency=spec.concurrency,
        active_tokens=slot.used,
        max_tokens_potential=slot.used,
        observed_decode_tps=slot.decode_tps * boast if slot.decode_tps else None,
        observed_prefill_tps=slot.prefill_tps * boast if slot.prefill_tps else None,
        active_token_budget_used=slot.used,
        active_token_budget_max=engine.budget_max(slot) if resident else 0,
        queued_token_budget=slot.queued,
        kv_bytes_per_token=slot.model.kv_rate if resident else 0,
        model_load_time_ms=int(slot.load_seconds * 1000),
    )
