"""Heartbeats from measurements."""

import msgspec

from protocol.codec import decode_from_provider, encode
from protocol.messages.from_provider import Stats, SystemMetrics
from provider.daemon.reports import build_heartbeat, build_telemetry
from provider.memory.capacity import Capacity, SlotCapacity
from provider.memory.pressure import Pressure

SLOT = SlotCapacity(
    model="tiny",
    state="idle",
    num_running=0,
    num_waiting=0,
    max_concurrency=8,
    active_tokens=0,
    max_tokens_potential=0,
    active_token_budget_used=0,
    active_token_budget_max=96000,
    queued_token_budget=0,
    kv_bytes_per_token=4096,
    observed_decode_tps=None,
    observed_prefill_tps=None,
    model_load_time_ms=12.6,
    steps_executed=0,
    admits=0,
    first_tokens_emitted=0,
    seconds_since_last_step=None,
    seconds_since_last_first_token=None,
    wedge_suspected=False,
)


def beat(*slots, **fields):
    capacity = Capacity(
        slots=slots,
        gpu_memory_active_gb=0.5,
        gpu_memory_peak_gb=0.6,
        gpu_memory_cache_gb=0.1,
        total_memory_gb=16.0,
        free_for_load_gb=0.0,
    )
    given = {
        "capacity": capacity,
        "capacity_seq": 1,
        "warm_models": ("tiny",),
        "loading_models": (),
        "in_flight": 0,
        "is_draining": False,
        "stats": Stats(),
        "metrics": SystemMetrics(thermal_state="nominal"),
    }
    return build_heartbeat(**{**given, **fields})


def test_an_idle_machine():
    message = beat(SLOT)
    assert (message.status, message.active_model, message.warm_models) == ("idle", None, ("tiny",))
    slot = message.backend_capacity.slots[0]
    assert (slot.state, slot.active_token_budget_max, slot.model_load_time_ms) == ("idle", 96000, 13)
    assert decode_from_provider(encode(message)) == message
    # Zero is an answer: it says that nothing more can be loaded.
    assert b'"free_for_load_gb":0.0' in encode(message)


def test_a_busy_machine_names_its_model():
    message = beat(msgspec.structs.replace(SLOT, state="running", num_running=2), in_flight=2)
    assert (message.status, message.active_model) == ("serving", "tiny")


def test_a_request_in_preparation_is_serving():
    assert beat(SLOT, in_flight=1).status == "serving"


def test_draining_wins():
    assert beat(SLOT, in_flight=1, is_draining=True).status == "draining"


def test_a_loading_model_has_a_slot():
    slots = beat(SLOT, loading_models=("tiny", "big")).backend_capacity.slots
    assert [(slot.model, slot.state) for slot in slots] == [("tiny", "idle"), ("big", "reloading")]


def test_telemetry_and_idle_unload_are_written_as_they_are_known():
    told = build_telemetry(pressure=Pressure.WARNING, low_power=None, received=5, in_engine=2, admitted=4)
    message = beat(SLOT, telemetry=told, idle_unload_minutes=0.0)
    assert decode_from_provider(encode(message)) == message
    wire = msgspec.json.decode(encode(message))
    assert wire["idle_unload_mins"] == 0
    assert wire["backend_capacity"]["telemetry"] == {
        "memory_pressure_level": "warning",
        "in_admission": 3,
        "inflight_tasks": 4,
    }


def test_telemetry_of_other_providers_may_have_other_types():
    wire = msgspec.json.decode(encode(beat(SLOT)))
    wire["backend_capacity"]["telemetry"] = {"low_power_mode": True, "memory_pressure_level": 2, "in_admission": False}
    told = decode_from_provider(msgspec.json.encode(wire)).backend_capacity.telemetry
    assert (told.low_power_mode, told.memory_pressure_level, told.in_admission) == (True, 2, False)
