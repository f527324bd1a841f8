"""Loading, joining, evicting and unloading, with a scripted engine and a fake clock."""

import math
import sys
from pathlib import Path

import pytest
import trio

from provider.engine import Cause, GenerationRequest, SlotState
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB
from provider.models.load import LoadFailed
from provider.models.slots import SlotManager
from provider.models.source import LoadRefused, ModelSource
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import FakeEngine, Script, finished_with
from tests.testbed.fake_memory import FakeAllocator, FakeSystem


class Rig:
    """A machine of 64 GiB with models a, b, c, d of 1 GiB each."""

    def __init__(self):
        self.system = FakeSystem(64 * GIB)
        self.allocator = FakeAllocator()
        self.gate = MemoryGate(self.system, self.allocator)
        self.sizes = dict.fromkeys("abcd", GIB)
        self.real = {}
        self.loads = []
        self.broken = set()
        self.script = lambda request: Script()
        self.detached = []

    def locate(self, model_id):
        if model_id not in self.sizes:
            return None
        return ModelSource(model_id=model_id, directory=Path(model_id), disk_bytes=self.sizes[model_id])

    def load(self, source):
        self.loads.append(source.model_id)
        if source.model_id in self.broken:
            raise LoadFailed("The model cannot be loaded; download it again.")
        size = self.real.get(source.model_id, source.disk_bytes)
        self.allocator.held += size
        return byte_model(source.model_id, weight_bytes=size)


@pytest.fixture
def rig():
    return Rig()


class Machine:
    def __init__(self, rig, engine, slots):
        self.rig, self.engine, self.slots = rig, engine, slots


@pytest.fixture
async def machine(rig, nursery):
    async with FakeEngine.open(lambda request: rig.script(request)) as engine:
        detach = engine.detach_model

        async def detach_and_free(model_id):
            model = engine._models.get(model_id)
            await detach(model_id)
            rig.detached.append(model_id)
            rig.allocator.held -= model.weight_bytes if model else 0

        engine.detach_model = detach_and_free
        async with SlotManager.open(
            engine, rig.gate, rig.locate, max_slots=3, load=rig.load, clock=trio.current_time
        ) as slots:
            yield Machine(rig, engine, slots)


async def use(machine, model_id, seconds=1.0):
    with machine.slots.pin(model_id):
        await machine.slots.ensure_loaded(model_id)
        await trio.sleep(seconds)


async def test_fourth_model_evicts_the_least_recently_used(machine, autojump_clock):
    for model_id in "abc":
        await use(machine, model_id)
    await use(machine, "a")
    await use(machine, "d")
    assert machine.rig.detached == ["b"]
    assert set(machine.slots.resident) == set("acd")


async def test_pinned_model_is_not_evicted(machine, autojump_clock):
    for model_id in "abc":
        await use(machine, model_id)
    with machine.slots.pin("a"):
        await use(machine, "d")
    assert machine.rig.detached == ["b"]


async def test_model_with_a_running_row_is_not_evicted(machine, autojump_clock):
    for model_id in "abc":
        await use(machine, model_id)
    machine.rig.script = lambda request: Script() if request.warm_up else Script(pieces="x" * 100, delay=1)
    machine.engine.submit(GenerationRequest(model="a", prompt_tokens=(1,)))
    await use(machine, "d")
    assert machine.rig.detached == ["b"]


async def test_all_slots_busy_is_refused_with_the_word_slot(machine, autojump_clock):
    for model_id in "abc":
        await use(machine, model_id)
        machine.slots.pin(model_id)
    with pytest.raises(LoadRefused, match="slot") as caught:
        await machine.slots.ensure_loaded("d")
    assert caught.value.kind == "no_slot"
    assert machine.slots.last_load_error == str(caught.value)


async def test_ten_requests_for_a_cold_model_share_one_load(machine, autojump_clock):
    models = []

    async def one():
        models.append(await machine.slots.ensure_loaded("a"))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one)
    assert machine.rig.loads == ["a"]
    assert machine.rig.allocator.limits == (58 * GIB, 8 * GIB)
    assert len({id(model) for model in models}) == 1


async def test_failed_load_is_shared_and_may_be_tried_again(machine, autojump_clock):
    machine.rig.broken.add("a")
    refusals = []

    async def one():
        try:
            await machine.slots.ensure_loaded("a")
        except LoadRefused as refusal:
            refusals.append(refusal.kind)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert refusals == ["broken"] * 3
    assert machine.rig.gate.promised == 0
    machine.rig.broken.clear()
    assert (await machine.slots.ensure_loaded("a")).model_id == "a"


async def test_cancelled_waiter_leaves_the_load_to_others(machine, autojump_clock):
    machine.rig.script = lambda request: Script(delay=5)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await machine.slots.ensure_loaded("a")
        nursery.start_soon(machine.slots.ensure_loaded, "a")
    assert machine.rig.loads == ["a"]
    assert machine.slots.resident == ("a",)


async def test_unknown_model(machine, autojump_clock):
    with pytest.raises(LoadRefused, match="The model zzz is not on this machine") as caught:
        await machine.slots.ensure_loaded("zzz")
    assert caught.value.kind == "unknown_model"


async def test_short_memory_evicts_idle_models_only_if_that_suffices(machine, autojump_clock):
    machine.rig.sizes.update(a=20 * GIB, b=20 * GIB, c=40 * GIB, d=60 * GIB)
    await use(machine, "a")
    await use(machine, "b")
    with pytest.raises(LoadRefused) as caught:
        await machine.slots.ensure_loaded("d")
    assert caught.value.kind == "memory"
    assert machine.rig.detached == []
    await use(machine, "c")
    assert machine.rig.detached == ["a", "b"]


async def test_full_allocator_cache_is_dropped_before_refusing(machine, autojump_clock):
    machine.rig.sizes["a"] = 40 * GIB
    machine.rig.allocator.freed = 20 * GIB
    await use(machine, "a")
    assert machine.rig.allocator.freed == 0


async def test_model_larger_than_its_estimate_is_unloaded_again(machine, autojump_clock):
    machine.rig.real["a"] = 59 * GIB
    with pytest.raises(LoadRefused, match="leaves too little memory") as caught:
        await machine.slots.ensure_loaded("a")
    assert caught.value.kind == "memory"
    assert machine.rig.detached == ["a"]
    assert machine.slots.resident == ()


async def test_failed_self_test_unloads(machine, autojump_clock):
    machine.rig.script = lambda request: finished_with(Cause.GENERATION_FAILURE)
    with pytest.raises(LoadRefused, match="failed its self-test"):
        await machine.slots.ensure_loaded("a")
    assert machine.slots.resident == ()
    assert machine.rig.allocator.held == 0


async def test_backend_error_is_a_broken_model(machine, autojump_clock):
    machine.engine.attach_error = RuntimeError("no such layer")
    with pytest.raises(LoadRefused, match="does not run here \\(RuntimeError\\)"):
        await machine.slots.ensure_loaded("a")


async def test_crashed_model_is_loaded_anew(machine, autojump_clock):
    await use(machine, "a")
    machine.engine.set_state("a", SlotState.CRASHED)
    assert machine.slots.get("a") is None
    await use(machine, "a")
    assert machine.rig.loads == ["a", "a"]
    assert machine.slots.get("a") is not None


async def test_idle_model_is_unloaded_at_the_hour_not_before(machine, autojump_clock):
    await use(machine, "a", 0)
    await trio.sleep(59 * 60)
    assert await machine.slots.unload_idle(3600) == []
    await trio.sleep(60)
    with machine.slots.pin("a"):
        await trio.sleep(10)
        assert await machine.slots.unload_idle(3600) == []
    await trio.sleep(3600)
    assert await machine.slots.unload_idle(3600) == ["a"]
    assert await machine.slots.unload_idle(3600) == []


async def test_a_model_stays_as_long_as_was_asked_for_it(machine, autojump_clock):
    for name in ("a", "b"):
        await use(machine, name, 0)
    machine.slots.keep("a", 7200.0)
    machine.slots.keep("b", 60.0)
    machine.slots.keep("c", 60.0)
    await trio.sleep(100)
    assert await machine.slots.unload_idle(3600, heed_spans=True) == ["b"]
    await trio.sleep(3600)
    assert await machine.slots.unload_idle(3600, heed_spans=True) == []
    machine.slots.keep("a", None)
    assert await machine.slots.unload_idle(3600, heed_spans=True) == ["a"]
    await use(machine, "b", 0)
    assert machine.slots.idle_span("b", 3600) == 3600  # nothing is remembered of a model that was unloaded
    machine.slots.keep("b", math.inf)
    assert await machine.slots.unload_idle(0) == ["b"]


async def test_unload_on_request(machine, autojump_clock):
    await use(machine, "a")
    pin = machine.slots.pin("a")
    assert not await machine.slots.unload("a")
    pin.release()
    pin.release()
    assert await machine.slots.unload("a")
    assert not await machine.slots.unload("a")


async def test_real_model_loads_warms_and_unloads(tiny_directory):
    from provider.engine import EngineFront
    from provider.memory.allocator import MlxAllocator
    from provider.memory.system import open_system_memory

    gate = MemoryGate(open_system_memory(), MlxAllocator())
    source = ModelSource(
        model_id="tiny", directory=tiny_directory, disk_bytes=(tiny_directory / "model.safetensors").stat().st_size
    )
    async with (
        EngineFront.open(headroom=gate.headroom, on_fatal=pytest.fail) as engine,
        SlotManager.open(engine, gate, lambda _: source) as slots,
    ):
        with trio.fail_after(30), slots.pin("tiny"):
            model = await slots.ensure_loaded("tiny")
            async with engine.submit(GenerationRequest(model="tiny", prompt_tokens=(5, 6), max_tokens=3)) as generation:
                events = [event async for event in generation]
        assert events[-1].usage.completion_tokens == 3
        assert model.model_id == "tiny"
        assert await slots.unload("tiny")
        assert engine.snapshot().slots == ()


async def test_loader_that_raises_anything_refuses_the_load_and_leaves_the_machine_working(machine, autojump_clock):
    load = machine.rig.load

    def broken(source):
        if source.model_id == "a":
            raise KeyError("eos")
        return load(source)

    machine.slots._load_source = broken
    with pytest.raises(LoadRefused, match="KeyError") as refused, machine.slots.pin("a"):
        await machine.slots.ensure_loaded("a")
    assert refused.value.kind == "broken"
    assert "eos" not in str(refused.value)
    assert machine.rig.gate.promised == 0
    assert machine.slots.loading == ()
    await use(machine, "b")
    assert machine.slots.resident == ("b",)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
async def test_loading_again_and_again_leaves_no_thread_behind(tiny_directory):
    from provider.engine import EngineFront
    from provider.memory.allocator import MlxAllocator
    from provider.memory.system import open_system_memory

    gate = MemoryGate(open_system_memory(), MlxAllocator())
    source = ModelSource(model_id="tiny", directory=tiny_directory, disk_bytes=1_000_000)
    threads = []
    async with (
        EngineFront.open(headroom=gate.headroom, on_fatal=pytest.fail) as engine,
        SlotManager.open(engine, gate, lambda _: source) as slots,
    ):
        with trio.fail_after(60):
            for _ in range(3):
                with slots.pin("tiny"):
                    await slots.ensure_loaded("tiny")
                assert await slots.unload("tiny")
                threads.append(len(list(Path("/proc/self/task").iterdir())))
    assert max(threads[1:]) <= threads[0] + 1, threads
