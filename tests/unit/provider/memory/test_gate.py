import time

import pytest

from provider.engine import EngineSnapshot, Health
from provider.memory.allocator import MlxAllocator
from provider.memory.capacity import measure_capacity
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB, MIB
from tests.testbed.fake_memory import FakeAllocator, FakeSystem
from tests.testbed.needs import module


@pytest.fixture
def system():
    return FakeSystem(64 * GIB, 60 * GIB)


@pytest.fixture
def allocator():
    return FakeAllocator()


@pytest.fixture
def gate(system, allocator):
    return MemoryGate(system, allocator)


def test_two_loads_that_fit_only_alone(gate):
    first = gate.try_promise(30 * GIB)
    assert first is not None
    assert gate.try_promise(30 * GIB) is None
    first.release()
    first.release()
    assert gate.promised == 0
    assert gate.try_promise(30 * GIB) is not None


def test_promise_lowers_cache_headroom(gate):
    before = gate.headroom()
    promise = gate.try_promise(10 * GIB)
    assert gate.headroom() == before - 10 * GIB
    promise.release()
    assert gate.headroom() == before


def test_headroom_is_bounded_by_the_system(gate, system):
    system.free = 5 * GIB
    assert gate.headroom() == 2 * GIB
    system.free = GIB
    assert gate.headroom() == 0


def test_largest_load_agrees_with_the_gate_to_the_byte(gate, allocator):
    for used, reclaimable in ((0, 0), (20 * GIB, 0), (20 * GIB, 20 * GIB)):
        allocator.held = used
        gate.note_largest(used)
        limit = gate.largest_load(reclaimable=reclaimable)
        assert gate.may_load(limit, reclaimable=reclaimable)
        assert not gate.may_load(limit + 1, reclaimable=reclaimable)


def test_serveable_is_measured_without_the_allocator_cache(gate, allocator):
    gate.note_largest(50 * GIB)
    allocator.held, allocator.freed = 50 * GIB, 7 * GIB
    assert gate.is_serveable()
    assert allocator.freed == 0
    allocator.held = 54 * GIB
    assert not gate.is_serveable()


def test_cache_is_trimmed_above_half_of_its_limit(gate, allocator):
    allocator.freed = 4 * GIB
    assert not gate.trim_cache()
    allocator.freed = 4 * GIB + 1
    assert gate.trim_cache()
    assert allocator.freed == 0


def test_small_model_gets_small_reserves():
    gate = MemoryGate(FakeSystem(2 * GIB, 1200 * MIB), FakeAllocator())
    assert gate.try_promise(5_000_000) is not None
    gate.note_largest(4_000_000)
    assert gate.headroom() > GIB


def test_capacity_figures(gate, allocator):
    allocator.held, allocator.freed, allocator.most = 3 * GIB, GIB, 5 * GIB
    capacity = measure_capacity(EngineSnapshot(), gate, health=Health.GOOD, now=0)
    assert (capacity.gpu_memory_active_gb, capacity.gpu_memory_cache_gb, capacity.gpu_memory_peak_gb) == (3, 1, 5)
    assert capacity.total_memory_gb == 64
    assert capacity.free_for_load_gb == pytest.approx(64 - 6.4 - 4)
    assert capacity.slots == ()


def test_allocator_is_silent_before_the_library_is_loaded(monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "mlx.core", raising=False)
    allocator = MlxAllocator()
    allocator.clear_cache()
    assert (allocator.active(), allocator.cached(), allocator.peak()) == (0, 0, 0)


def test_allocator_counts_arrays():
    mx = module("mlx.core")
    allocator = MlxAllocator()
    before = allocator.active()
    array = mx.zeros((1000, 1000))
    mx.eval(array)
    assert allocator.active() - before >= 4_000_000
    assert allocator.peak() >= 4_000_000
    del array
    deadline = time.monotonic() + 5
    while allocator.active() - before >= 4_000_000 and time.monotonic() < deadline:
        allocator.clear_cache()
    assert allocator.active() - before < 4_000_000


@pytest.mark.parametrize("physical", [1200 * MIB, 2 * GIB, 7 * GIB, 16 * GIB, 64 * GIB])
@pytest.mark.parametrize("resident", [0, 4_000_000, 90_000_000, 2 * GIB])
@pytest.mark.parametrize("share", [4, 2, 1])
def test_largest_load_is_what_the_gate_accepts_whatever_is_resident(physical, resident, share):
    """The reserves depend on the size asked for: a tiny resident model must not promise room for a huge one."""
    allocator = FakeAllocator()
    allocator.held = resident
    gate = MemoryGate(FakeSystem(physical, physical // share), allocator)
    gate.note_largest(resident)
    limit = gate.largest_load(reclaimable=0)
    assert limit == 0 or gate.may_load(limit)
    assert not gate.may_load(limit + 1)


def test_nothing_is_reclaimable_while_a_request_pins_a_model_that_has_no_row_yet(gate, allocator):
    allocator.held = 20 * GIB
    gate.note_largest(20 * GIB)

    def free(in_flight):
        return measure_capacity(EngineSnapshot(), gate, health=Health.GOOD, now=0, in_flight=in_flight).free_for_load_gb

    assert free(1) * GIB == pytest.approx(gate.largest_load(reclaimable=0))
    assert free(0) * GIB == pytest.approx(gate.largest_load(reclaimable=20 * GIB))
    assert free(0) > free(1)
