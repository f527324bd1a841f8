"""The capacity figures of a heartbeat as one plain record, from one engine snapshot and one memory reading."""

import msgspec

from provider.engine import EngineSnapshot, Health, SlotSnapshot, SlotState
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB


class SlotCapacity(msgspec.Struct, frozen=True, kw_only=True):
    """One slot as it is reported; None means not measured yet and is left out."""

    model: str
    state: str
    num_running: int
    num_waiting: int
    max_concurrency: int
    active_tokens: int
    max_tokens_potential: int
    active_token_budget_used: int
    active_token_budget_max: int
    queued_token_budget: int
    kv_bytes_per_token: int
    observed_decode_tps: float | None
    observed_prefill_tps: float | None
    model_load_time_ms: float
    steps_executed: int
    admits: int
    first_tokens_emitted: int
    seconds_since_last_step: float | None
    seconds_since_last_first_token: float | None
    wedge_suspected: bool


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in GiB, and all slots."""

    slots: tuple[SlotCapacity, ...]
    gpu_memory_active_gb: float
    gpu_memory_peak_gb: float
    gpu_memory_cache_gb: float
    total_memory_gb: float
    free_for_load_gb: float


def measure_capacity(
    snapshot: EngineSnapshot, gate: MemoryGate, *, health: Health, now: float, in_flight: int = 0
) -> Capacity:
    """Build the record; `now` is on the engine's clock (``time.monotonic``).

    `in_flight` counts admitted requests, those included that the engine does not know yet: each pins its model.
    `free_for_load_gb` is the largest padded weight estimate that the load gate would accept: everything of ours can be
    given back when nothing is in flight, nothing otherwise. The engine's budgets are at most half a second old, so they
    are held against the headroom of this moment.
    """
    reading = gate.read()
    headroom = gate.headroom()
    busy = in_flight > 0 or any(slot.running or slot.waiting for slot in snapshot.slots)
    return Capacity(
        slots=tuple(_slot(slot, health, now, headroom) for slot in snapshot.slots),
        gpu_memory_active_gb=reading.active / GIB,
        gpu_memory_peak_gb=reading.peak / GIB,
        gpu_memory_cache_gb=reading.cached / GIB,
        total_memory_gb=reading.physical / GIB,
        free_for_load_gb=gate.largest_load(reclaimable=0 if busy else reading.used) / GIB,
    )


def _slot(slot: SlotSnapshot, health: Health, now: float, headroom: int) -> SlotCapacity:
    room = headroom // max(1, slot.kv_bytes_per_token)
    return SlotCapacity(
        model=slot.model,
        state=SlotState(slot.state).value,
        num_running=slot.running,
        num_waiting=slot.waiting,
        max_concurrency=slot.max_concurrency,
        active_tokens=slot.active_tokens,
        max_tokens_potential=slot.max_tokens_potential,
        active_token_budget_used=slot.budget_used,
        active_token_budget_max=min(slot.budget_max, slot.budget_used + room),
        queued_token_budget=slot.queued_budget,
        kv_bytes_per_token=slot.kv_bytes_per_token,
        observed_decode_tps=slot.decode_tps,
        observed_prefill_tps=slot.prefill_tps,
        model_load_time_ms=slot.load_time_ms,
        steps_executed=slot.steps_executed,
        admits=slot.admits,
        first_tokens_emitted=slot.first_tokens_emitted,
        seconds_since_last_step=_since(slot.last_step_at, now),
        seconds_since_last_first_token=_since(slot.last_first_token_at, now),
        wedge_suspected=health is not Health.GOOD,
    )


def _since(instant: float | None, now: float) -> float | None:
    return None if instant is None else max(0.0, now - instant)
