"""A provider without an engine behind the real link, in front of a coordinator played by the test."""

from contextlib import asynccontextmanager

import pytest
import trio

from protocol.messages.from_provider import (
    AttestationResponse,
    BackendCapacity,
    CapacityQuote,
    Heartbeat,
    ModelEntry,
    PrefetchModelStatus,
    Register,
    Slot,
)
from provider.link import CoordinatorLink, LinkTiming, parse_address
from provider.link.bell import Bell
from tests.testbed.fake_coordinator import FakeCoordinator


class FakePort:
    """Counts what it is asked; `slots` is what heartbeats report."""

    def __init__(self):
        self.entries = (ModelEntry(id="bytes", size_bytes=1),)
        self.constrained = ()
        self.models_version = 1
        self.changed = trio.Event()
        self.slots = (Slot(model="bytes", state="idle", max_concurrency=8),)
        self.nonces = []
        self.requests = []
        self.cancels = []
        self.lost = []
        self.load_error = None
        self.load_seconds = 0.0
        self.challenge_seconds = 0.0
        self.accept_error = None
        self.frame = b'{"type":"inference_accepted","request_id":"%b"}'

    async def register_frame(self, registration_nonce):
        await trio.lowlevel.checkpoint()
        self.nonces.append(registration_nonce)
        return Register(models=self.entries, backend="mlx-python", public_key="AAAA")

    async def challenge_reply(self, challenge):
        await trio.sleep(self.challenge_seconds)
        return AttestationResponse(nonce=challenge.nonce, public_key="AAAA")

    async def heartbeat(self, capacity_seq):
        await trio.lowlevel.checkpoint()
        return Heartbeat(status="idle", backend_capacity=BackendCapacity(slots=self.slots, capacity_seq=capacity_seq))

    def models(self):
        return self.entries

    def constrained_models(self):
        return self.constrained

    async def wait_models(self, seen):
        while self.models_version == seen:
            await self.changed.wait()
        return self.models_version

    async def load_model(self, model_id):
        await trio.sleep(self.load_seconds)
        return self.load_error

    async def prefetch_model(self, model_id, report):
        for status in ("started", "verified"):
            await trio.lowlevel.checkpoint()
            report(PrefetchModelStatus(model_id=model_id, status=status))

    def desire_models(self, models):
        self.desired = models

    def quote(self, probe, capacity_seq):
        return CapacityQuote(quote_id=probe.quote_id, capacity_seq=capacity_seq, admissible_now=True)

    def accept_request(self, message, lane):
        if self.accept_error is not None:
            error, self.accept_error = self.accept_error, None
            raise error
        self.requests.append((message, lane))
        lane.put(self.frame.replace(b"%b", message.request_id.encode()))

    def cancel_request(self, request_id):
        self.cancels.append(request_id)

    def connection_lost(self, owner):
        self.lost.append(owner)


class Sending(trio.abc.Stream):
    """The provider's end; once `is_stuck`, no write gets through."""

    def __init__(self, stream):
        self.is_stuck = False
        self._stream = stream

    async def send_all(self, data):
        if self.is_stuck:
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self._stream.receive_some(max_bytes)

    async def aclose(self):
        await self._stream.aclose()


class Bench:
    def __init__(self, coordinator, link, port, bell, events):
        self.streams = []
        self.coordinator, self.link, self.port, self.bell, self.events = coordinator, link, port, bell, events
        self.wall = 0.0

    def kinds(self):
        return [event.kind for event in self.events]


@pytest.fixture
def open_bench():
    @asynccontextmanager
    async def opened(*, spread=lambda: 0.0, run=True, wall_clock=None, timing=None, **settings):
        async with FakeCoordinator.open() as coordinator, trio.open_nursery() as nursery:
            for name, value in settings.items():
                setattr(coordinator, name, value)
            port, bell, events = FakePort(), Bell(), []

            async def dial(address, limits):
                bench.streams.append(Sending(await coordinator.dial(address, limits)))
                return bench.streams[-1]

            link = CoordinatorLink(
                parse_address("ws://127.0.0.1", allow_insecure=False),
                port,
                bell,
                spread=spread,
                timing=timing or LinkTiming(),
                wall_clock=wall_clock or trio.current_time,
                on_event=events.append,
                dial=dial,
            )
            bench = Bench(coordinator, link, port, bell, events)
            if run:
                nursery.start_soon(link.run)
            yield bench
            nursery.cancel_scope.cancel()

    return opened
