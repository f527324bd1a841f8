"""Whatever happens on a machine: reports never exceed what it may take, and the gate agrees with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.engine import EngineSnapshot, Health, SlotSnapshot, SlotState
from provider.memory import policy
from provider.memory.capacity import measure_capacity
from provider.memory.fit import fits_machine, needed_bytes
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB, MIB, PolicySettings
from tests.testbed.fake_memory import FakeAllocator, FakeSystem

KV = st.sampled_from([0, 512, 4096, 131_072, 819_200])


def slot_of(index, kv_bytes, used, available, cap_tokens):
    """What the engine publishes for a slot, from an `available` that may be half a second old."""
    free = available // max(1, kv_bytes)
    return SlotSnapshot(
        model=f"m{index}",
        state=SlotState.RUNNING if used else SlotState.IDLE,
        running=1 if used else 0,
        waiting=0,
        paused=0,
        max_concurrency=8,
        active_tokens=used,
        max_tokens_potential=used,
        budget_used=used,
        budget_max=min(used + free, cap_tokens),
        queued_budget=0,
        kv_bytes_per_token=kv_bytes,
        weight_bytes=GIB,
        decode_tps=None,
        prefill_tps=None,
        load_time_ms=1.0,
        steps_executed=0,
        admits=0,
        first_tokens_emitted=0,
        last_step_at=None,
        last_first_token_at=None,
        last_used_at=0.0,
    )


@st.composite
def machines(draw):
    physical = draw(st.integers(1 * GIB, 512 * GIB))
    system = FakeSystem(physical, draw(st.integers(0, physical)))
    allocator = FakeAllocator()
    allocator.held = draw(st.integers(0, physical))
    allocator.freed = draw(st.integers(0, 8 * GIB))
    settings = PolicySettings(
        cap_fraction=draw(st.sampled_from([0.1, 0.5, 0.9, 1.0])),
        operator_reserve=draw(st.sampled_from([None, 0, GIB, 64 * GIB])),
        activation_reserve=draw(st.sampled_from([None, GIB, 10 * GIB])),
    )
    gate = MemoryGate(system, allocator, settings)
    gate.note_largest(draw(st.sampled_from([0, 4 * MIB, GIB, 100 * GIB])))
    for size in draw(st.lists(st.integers(1, 64 * GIB), max_size=3)):
        gate.try_promise(size)
    gate.is_closed = draw(st.booleans())
    return gate, settings


@given(machine=machines(), data=st.data())
def test_no_slot_offers_more_than_memory_holds(machine, data):
    gate, settings = machine
    rows = [data.draw(st.tuples(KV, st.integers(0, 10**6))) for _ in range(data.draw(st.integers(0, 3)))]
    stale = data.draw(st.integers(0, 600 * GIB))
    slots = tuple(slot_of(i, kv, used, stale, 10**9) for i, (kv, used) in enumerate(rows))
    capacity = measure_capacity(EngineSnapshot(slots=slots), gate, health=Health.GOOD, now=1.0)
    reading = gate.read()
    cap = policy.effective_cap(reading.physical, settings.cap_fraction, gate.reserves())
    headroom = gate.headroom()
    for slot in capacity.slots:
        offered = max(0, slot.active_token_budget_max - slot.active_token_budget_used) * slot.kv_bytes_per_token
        assert offered <= headroom
        if offered:
            assert not gate.is_closed
            assert reading.used + gate.promised + offered + gate.reserves().activation <= cap
            assert offered <= reading.available
    assert 0 <= capacity.free_for_load_gb <= capacity.total_memory_gb


@given(machine=machines(), busy=st.booleans())
def test_reported_load_is_exactly_what_the_gate_accepts(machine, busy):
    gate, _settings = machine
    reclaimable = 0 if busy else gate.read().used
    capacity = measure_capacity(EngineSnapshot(), gate, health=Health.GOOD, now=0.0, in_flight=int(busy))
    largest = round(capacity.free_for_load_gb * GIB)
    assert largest == gate.largest_load(reclaimable=reclaimable)
    if largest:
        assert gate.may_load(largest, reclaimable=reclaimable)
    assert not gate.may_load(largest + 1, reclaimable=reclaimable)


@given(machine=machines(), sizes=st.lists(st.integers(1, 200 * GIB), min_size=2, max_size=4))
def test_loads_that_each_fit_never_fit_together_beyond_the_cap(machine, sizes):
    gate, settings = machine
    before = gate.promised
    taken = [promise for size in sizes if (promise := gate.try_promise(size)) is not None]
    reading = gate.read()
    if taken:
        all_taken = reading.used + before + sum(promise.size for promise in taken)
        assert all_taken <= int(reading.physical * settings.cap_fraction)
    for promise in taken:
        promise.release()
    assert gate.promised == before


@given(
    padded=st.integers(1, 600 * GIB),
    physical=st.integers(GIB, 512 * GIB),
    reserve=st.sampled_from([None, 0, 8 * GIB]),
)
def test_model_that_fits_the_machine_fits_its_empty_gate(padded, physical, reserve):
    settings = PolicySettings(operator_reserve=reserve)
    gate = MemoryGate(FakeSystem(physical), FakeAllocator(), settings)
    assert fits_machine(padded, physical, settings) == gate.may_load(padded)
    if fits_machine(padded, physical, settings):
        assert needed_bytes(padded, physical, settings) <= physical


@pytest.mark.parametrize(("physical", "largest"), [(16, 8.0), (24, 16.0), (32, 24.0), (64, 53.6), (128, 111.2)])
def test_largest_padded_weights_of_the_table(physical, largest):
    gate = MemoryGate(FakeSystem(physical * GIB), FakeAllocator())
    assert gate.largest_load(reclaimable=0) / GIB == pytest.approx(largest, abs=0.001)
