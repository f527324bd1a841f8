"""Idle models and memory pressure, on trio's jumping clock."""

from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from provider.daemon.upkeep import COOLING_SECONDS, RECOVERY_SECONDS, Upkeep
from provider.engine import EngineLost, GenerationRequest, Health, SlotState
from provider.memory.capacity import measure_capacity
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB
from provider.memory.pressure import Pressure
from provider.models.slots import SlotManager
from provider.models.source import LoadRefused, ModelSource
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import FakeEngine, Script
from tests.testbed.fake_memory import FakeAllocator, FakeSystem

HOUR = 3600.0
ASK = GenerationRequest(model="a", prompt_tokens=(65,), max_tokens=9)


class Gauge:
    """A level that the test sets."""

    def __init__(self):
        self.now = Pressure.NONE

        self.heat = "nominal"
        self.readings = 0

    def level(self):
        return self.now

    def thermal_state(self):
        self.readings += 1
        return self.heat


class Bench:
    def __init__(self, slots, gate, engine, gauge, allocator):
        self.slots, self.gate, self.engine, self.gauge, self.allocator = slots, gate, engine, gauge, allocator

    def capacity(self):
        snapshot = self.engine.snapshot()
        return measure_capacity(snapshot, self.gate, health=Health.GOOD, now=trio.current_time())


@pytest.fixture
def open_upkeep():
    @asynccontextmanager
    async def opened(script=None, *, idle_timeout=HOUR, interval=2.0):
        allocator = FakeAllocator()
        gate, gauge = MemoryGate(FakeSystem(64 * GIB), allocator), Gauge()

        def locate(model_id):
            return ModelSource(model_id=model_id, directory=Path(model_id), disk_bytes=1_000_000)

        async with (
            FakeEngine.open(script or (lambda _: Script())) as engine,
            SlotManager.open(
                engine, gate, locate, load=lambda source: byte_model(source.model_id), clock=trio.current_time
            ) as slots,
            trio.open_nursery() as nursery,
        ):
            upkeep = Upkeep(
                slots=slots,
                gate=gate,
                engine=engine,
                pressure=gauge,
                idle_timeout=idle_timeout,
                pressure_interval=interval,
                thermal_state=gauge.thermal_state,
            )
            nursery.start_soon(upkeep.run)
            yield Bench(slots, gate, engine, gauge, allocator)
            nursery.cancel_scope.cancel()

    return opened


async def test_idle_model_goes_after_its_time_and_not_before(open_upkeep, autojump_clock):
    async with open_upkeep(interval=0) as bench:
        await bench.slots.ensure_loaded("a")
        await trio.sleep(59 * 60)
        assert bench.slots.resident == ("a",)
        await trio.sleep(2 * 60)
        assert bench.slots.resident == ()
        assert bench.engine.snapshot().slots == ()
        await bench.slots.ensure_loaded("a")
        assert bench.slots.resident == ("a",)


async def test_crashed_model_is_seen_unloaded_and_loaded_anew_on_request(open_upkeep, autojump_clock):
    async with open_upkeep(interval=0) as bench:
        for name in ("a", "b"):
            await bench.slots.ensure_loaded(name)
        bench.engine.set_state("a", SlotState.CRASHED)
        await trio.sleep(5)
        assert bench.capacity().slots[0].state == "crashed"
        await trio.sleep(10)
        assert bench.slots.resident == ("b",)
        await bench.slots.ensure_loaded("a")
        await trio.sleep(60)
        assert set(bench.slots.resident) == {"a", "b"}


async def test_model_in_use_stays_and_its_time_begins_when_the_use_ends(open_upkeep, autojump_clock):
    async with open_upkeep(interval=0) as bench:
        await bench.slots.ensure_loaded("a")
        with bench.slots.pin("a"):
            await trio.sleep(5 * HOUR)
            assert bench.slots.resident == ("a",)
        await trio.sleep(HOUR - 60)
        assert bench.slots.resident == ("a",)
        await trio.sleep(120)
        assert bench.slots.resident == ()


async def test_zero_keeps_idle_models_for_ever(open_upkeep, autojump_clock):
    async with open_upkeep(idle_timeout=0, interval=0) as bench:
        await bench.slots.ensure_loaded("a")
        await trio.sleep(10 * HOUR)
        assert bench.slots.resident == ("a",)


async def test_a_span_that_a_request_asked_for_counts_whatever_is_usual(open_upkeep, autojump_clock):
    async with open_upkeep(idle_timeout=0, interval=0) as bench:
        await bench.slots.ensure_loaded("a")
        bench.slots.keep("a", 30.0)
        await trio.sleep(29)
        assert bench.slots.resident == ("a",)
        await trio.sleep(12)
        assert bench.slots.resident == ()


async def test_warning_gives_freed_buffers_back_and_goes_on(open_upkeep, autojump_clock):
    async with open_upkeep(interval=600.0) as bench:
        bench.allocator.freed = GIB
        bench.gauge.now = Pressure.WARNING
        await trio.sleep(0.5)
        while bench.allocator.freed:
            await trio.lowlevel.checkpoint()
        assert bench.engine.admission_open
        assert not bench.gate.is_closed


async def until(condition):
    """The reading happens on a worker thread, on which the jumping clock does not wait."""
    while not condition():
        await trio.sleep(0.5)


async def test_critical_pressure_closes_everything_at_one_moment_and_unloads_what_is_idle(open_upkeep, autojump_clock):
    async with open_upkeep(lambda _: Script(pieces=("x",) * 9, delay=5.0), idle_timeout=0) as bench:
        for model in ("a", "b"):
            await bench.slots.ensure_loaded(model)
        with bench.slots.pin("a"):
            running = bench.engine.submit(ASK)
            before = bench.capacity()
            assert before.free_for_load_gb > 1
            assert before.slots[0].active_token_budget_max > before.slots[0].active_token_budget_used > 0
            bench.gauge.now = Pressure.CRITICAL
            await until(lambda: bench.gate.is_closed)
            # Whatever the engine has published by now, the report and the gate agree.
            assert not bench.engine.admission_open
            assert not bench.slots.takes_loads
            after = bench.capacity()
            assert after.free_for_load_gb == 0
            assert [slot.active_token_budget_max for slot in after.slots] == [
                slot.active_token_budget_used for slot in after.slots
            ]
            assert bench.gate.try_promise(1) is None
            await until(lambda: bench.slots.resident == ("a",))
            with pytest.raises(LoadRefused) as refused:
                await bench.slots.ensure_loaded("b")
            assert refused.value.kind == "memory"
            while running.finished is None:
                await running.receive()
            assert running.finished.usage.completion_tokens == 10
        await until(lambda: bench.slots.resident == ())


async def test_requests_come_back_some_time_after_the_pressure_went(open_upkeep, autojump_clock):
    async with open_upkeep(idle_timeout=0) as bench:
        bench.gauge.now = Pressure.CRITICAL
        await until(lambda: bench.gate.is_closed)
        bench.gauge.now = Pressure.WARNING
        began = trio.current_time()
        await until(lambda: not bench.gate.is_closed)
        assert trio.current_time() - began >= RECOVERY_SECONDS - 2.5
        assert bench.engine.admission_open
        await bench.slots.ensure_loaded("a")
        assert bench.capacity().slots[0].active_token_budget_max > 0


async def test_zero_never_looks_at_the_memory(open_upkeep, autojump_clock):
    async with open_upkeep(interval=0) as bench:
        bench.gauge.now = Pressure.CRITICAL
        await trio.sleep(100)
        assert bench.engine.admission_open
        assert not bench.gate.is_closed


async def test_engine_that_fails_over_an_unload_does_not_end_the_daemon(
    open_upkeep, autojump_clock, monkeypatch, caplog
):
    async with open_upkeep(interval=0) as bench:
        for model in ("a", "b"):
            await bench.slots.ensure_loaded(model)

        async def fail(_model_id):
            await trio.lowlevel.checkpoint()
            monkeypatch.undo()
            raise EngineLost("The engine failed; load the model again.")

        monkeypatch.setattr(bench.engine, "detach_model", fail)
        await until(lambda: bench.slots.resident == ())
        assert [record.msg for record in caplog.records] == ["the engine failed while it was asked to unload a model"]


async def test_critical_heat_closes_the_machine_until_it_was_cool_for_a_minute(open_upkeep, autojump_clock):
    async with open_upkeep() as bench:
        await bench.slots.ensure_loaded("a")
        bench.gauge.heat = "critical"
        await until(lambda: bench.gate.is_closed)
        assert not bench.engine.admission_open
        assert bench.capacity().free_for_load_gb == 0
        assert bench.slots.resident == ("a",)
        bench.gauge.heat = "fair"
        began = trio.current_time()
        await until(lambda: not bench.gate.is_closed)
        assert trio.current_time() - began >= COOLING_SECONDS - 2.5
        assert bench.engine.admission_open


async def test_serious_heat_after_critical_heat_is_not_cool_yet(open_upkeep, autojump_clock):
    async with open_upkeep() as bench:
        bench.gauge.heat = "critical"
        await until(lambda: bench.gate.is_closed)
        bench.gauge.heat = "serious"
        readings = bench.gauge.readings
        await until(lambda: bench.gauge.readings > readings + COOLING_SECONDS)
        assert bench.gate.is_closed


async def test_machine_that_is_hot_and_short_of_memory_opens_when_both_are_over(open_upkeep, autojump_clock):
    async with open_upkeep() as bench:
        bench.gauge.heat, bench.gauge.now = "critical", Pressure.CRITICAL
        await until(lambda: bench.gate.is_closed)
        bench.gauge.heat = "nominal"
        readings = bench.gauge.readings
        await until(lambda: bench.gauge.readings > readings + COOLING_SECONDS)
        assert bench.gate.is_closed
        bench.gauge.now = Pressure.NONE
        await until(lambda: not bench.gate.is_closed)


async def test_serious_heat_alone_halves_the_rows_and_closes_nothing(open_upkeep, autojump_clock):
    async with open_upkeep() as bench:
        await bench.slots.ensure_loaded("a")
        usual = bench.capacity().slots[0].max_concurrency
        bench.gauge.heat = "serious"
        await until(lambda: bench.capacity().slots[0].max_concurrency == usual // 2)
        assert not bench.gate.is_closed
        bench.gauge.heat = "fair"
        await until(lambda: bench.capacity().slots[0].max_concurrency == usual)


async def test_pressure_halves_the_cached_prompts_and_then_forgets_them(open_upkeep, autojump_clock):
    async with open_upkeep(idle_timeout=0) as bench:
        for level in (Pressure.WARNING, Pressure.CRITICAL, Pressure.WARNING, Pressure.NONE):
            bench.gauge.now = level
            readings = bench.gauge.readings
            await until(lambda readings=readings: bench.gauge.readings > readings + 3)
        assert bench.engine.trims == [0.5, 0.0, 0.5]
