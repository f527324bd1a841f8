"""A desk with a scripted engine, real slots, real encryption, and lanes that a test can look into."""

import functools
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from protocol.identity import SoftwareSigner
from protocol.sealing import ProviderKeyPair
from provider.models.slots import SlotManager
from provider.models.source import ModelSource
from provider.requests import RequestCounters, RequestDesk, RequestServices
from tests.testbed.byte_model import byte_model
from tests.testbed.fake_engine import FakeEngine
from tests.testbed.fake_machine import roomy_gate
from tests.testbed.sealed_asker import SealedAsker


class ListLane:
    """Keeps every frame, and always has room."""

    def __init__(self, frames, owner=None):
        self.frames = frames
        self.owner = owner
        self.is_hurried = False

    def put(self, frame):
        self.frames.append(frame)

    async def room(self):
        await trio.lowlevel.checkpoint()

    def hurry(self):
        self.is_hurried = True


@functools.cache
def signer():
    return SoftwareSigner.from_scalar(7)


class Bench:
    """`frames` are all frames of all requests in order."""

    def __init__(self, desk, engine, slots, keys, clock):
        self.desk, self.engine, self.slots, self.keys, self.clock = desk, engine, slots, keys, clock
        self.asker = SealedAsker(keys.public, keys.public_text)
        self.frames = []
        self.changes = 0

    @property
    def counters(self):
        return self.desk.services.counters

    def send(self, request_id, body, *, owner=None, budget_ms=0):
        self.desk.accept(self.asker.request(request_id, body, budget_ms=budget_ms), self.lane(owner))

    def lane(self, owner=None):
        return ListLane(self.frames, owner)

    async def submitted(self, count=1):
        """Wait without idling, so that the jumping clock does not run away while a worker thread renders."""
        while len(self.engine.requests) < count:
            await trio.lowlevel.checkpoint()

    async def ask(self, body, request_id="r1", **fields):
        self.send(request_id, body, **fields)
        await self.desk.wait_idle()
        return self.heard(request_id)

    def heard(self, request_id="r1"):
        return self.asker.hear(self.frames)[request_id]


class Clock:
    """A clock that a test sets; the engine's clock is never compared with trio's."""

    def __init__(self):
        self.now = time.monotonic()

    def __call__(self):
        return self.now


@pytest.fixture
def open_bench():
    @asynccontextmanager
    async def opened(script=None, *, load=None, resident=True, gate=None, signed=True, limits=None, models=("bytes",)):
        keys, clock = ProviderKeyPair.generate(), Clock()

        def locate(model_id):
            if model_id not in models:
                return None
            return ModelSource(model_id=model_id, directory=Path("/nowhere"), disk_bytes=1_000_000)

        async with (
            FakeEngine.open(script, limits=limits) as engine,
            SlotManager.open(
                engine,
                gate or roomy_gate(),
                locate,
                load=load or (lambda source: byte_model(source.model_id)),
                clock=trio.current_time,
            ) as slots,
            trio.open_nursery() as nursery,
        ):
            services = RequestServices(
                engine=engine,
                slots=slots,
                keys=keys,
                signer=signer() if signed else None,
                is_advertised=lambda model: model in (*models, "gone"),
                clock=clock,
                wall_clock=lambda: 1_700_000_000.0,
                threads=trio.CapacityLimiter(4),
                renderer=trio.CapacityLimiter(1),
                counters=RequestCounters(),
            )
            bench = None

            def note_change():
                if bench is not None:
                    bench.changes += 1

            desk = RequestDesk(services, nursery, on_change=note_change)
            if resident:
                for model in models:
                    await slots.ensure_loaded(model)
                engine.requests.clear()
            bench = Bench(desk, engine, slots, keys, clock)
            yield bench
            nursery.cancel_scope.cancel()

    return opened
