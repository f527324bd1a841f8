"""Random use of several models on a small machine: whatever happens, the slots keep their rules."""

import os
import threading
from pathlib import Path
from random import Random

import pytest
import trio

from provider.engine import GenerationRequest, Health
from provider.memory.capacity import measure_capacity
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB
from provider.models.slots import SlotManager
from provider.models.source import LoadRefused, ModelSource
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import FakeEngine, Script
from tests.testbed.fake_memory import FakeAllocator, FakeSystem

SEEDS = range(200) if os.environ.get("DARKBLOOM_TEST_FULL") == "1" else range(6)
SIZES = {"a": 2 * GIB, "b": 5 * GIB, "c": 9 * GIB, "d": 20 * GIB, "e": 60 * GIB}
USERS, ROUNDS = 4, 12
TOTAL = 48 * GIB
CAP = int(0.9 * TOTAL)


class Machine(FakeSystem):
    """Free memory is what the allocator has not taken."""

    def __init__(self, allocator):
        super().__init__(TOTAL)
        self.allocator = allocator

    def available(self):
        return max(0, self.total - self.allocator.held - self.allocator.freed)


class Run:
    def __init__(self, seed, engine, gate, allocator):
        self.random, self.engine, self.gate, self.allocator = Random(seed), engine, gate, allocator
        self.pinned = {}
        self.weighing = threading.Lock()
        self.refused = 0
        self.served = 0
        self.gave_up = 0
        self.loads = 0
        detach = engine.detach_model

        async def detach_and_free(model_id):
            assert not self.pinned.get(model_id), f"{model_id} was in use"
            model = engine._models.get(model_id)
            await detach(model_id)
            if model is not None:
                allocator.held -= model.weight_bytes
                allocator.freed += self.random.choice((0, GIB))

        engine.detach_model = detach_and_free

    def locate(self, model_id):
        return ModelSource(model_id=model_id, directory=Path(model_id), disk_bytes=SIZES[model_id])

    def load(self, source):
        real = int(source.disk_bytes * self.random.uniform(0.9, 1.15))
        with self.weighing:
            self.allocator.held += real
        self.loads += 1
        return byte_model(source.model_id, weight_bytes=real)

    async def use(self, slots):
        for _ in range(ROUNDS):
            model_id = self.random.choice(list(SIZES))
            self.pinned[model_id] = self.pinned.get(model_id, 0) + 1
            pin = slots.pin(model_id)
            try:
                with trio.move_on_after(self.random.choice((0.5, 100))) as patience:
                    await slots.ensure_loaded(model_id)
                    async with self.engine.submit(
                        GenerationRequest(model=model_id, prompt_tokens=(1,), max_tokens=self.random.randint(1, 9))
                    ) as generation:
                        async for _event in generation:
                            self.check(slots)
                    self.served += 1
                self.gave_up += patience.cancelled_caught
            except LoadRefused:
                self.refused += 1
            finally:
                self.pinned[model_id] -= 1
                pin.release()
            self.check(slots)
            await trio.sleep(self.random.uniform(0, 3))

    async def tidy(self, slots):
        while True:
            await trio.sleep(self.random.uniform(1, 5))
            await slots.unload_idle(self.random.choice((0, 2)))
            self.check(slots)

    def check(self, slots):
        """At every step: no more models than slots, no more bytes than the cap, and a report that agrees."""
        with self.weighing:  # a load on its thread must not come between two looks at the memory
            self._check(slots)

    def _check(self, slots):
        assert len(slots.resident) <= 3
        assert self.allocator.held <= CAP
        busy = any(self.pinned.values())
        capacity = measure_capacity(self.engine.snapshot(), self.gate, health=Health.GOOD, now=0.0, in_flight=int(busy))
        for slot in capacity.slots:
            offered = (slot.active_token_budget_max - slot.active_token_budget_used) * slot.kv_bytes_per_token
            assert offered <= max(0, self.gate.headroom())
        largest = round(capacity.free_for_load_gb * GIB)
        snapshot = self.engine.snapshot()
        idle = not busy and not any(slot.running or slot.waiting for slot in snapshot.slots)
        reclaimable = self.gate.read().used if idle else 0
        assert self.gate.may_load(largest, reclaimable=reclaimable) or largest == 0
        assert not self.gate.may_load(largest + 1, reclaimable=reclaimable)


@pytest.mark.parametrize("seed", SEEDS)
async def test_rules_hold_whatever_is_asked(seed, autojump_clock):
    allocator = FakeAllocator()
    gate = MemoryGate(Machine(allocator), allocator)
    random = Random(seed)

    def script(request):
        return Script(pieces=("x",) * 9, delay=0.0 if request.warm_up else random.choice((0.0, 0.3)))

    async with FakeEngine.open(script) as engine:
        run = Run(seed, engine, gate, allocator)
        async with SlotManager.open(
            engine, gate, run.locate, max_slots=3, load=run.load, clock=trio.current_time
        ) as slots:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.tidy, slots)
                async with trio.open_nursery() as users:
                    for _ in range(USERS):
                        users.start_soon(run.use, slots)
                nursery.cancel_scope.cancel()
            while slots.loading:  # of those who gave up waiting
                await trio.sleep(1)
            await slots.unload_idle(0)
            assert slots.resident == ()
    assert allocator.held == 0
    assert gate.promised == 0
    assert run.served + run.refused + run.gave_up == USERS * ROUNDS
    assert run.loads >= 3
