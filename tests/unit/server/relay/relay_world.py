"""A small world for the relay's tests: a real registry, providers with a script, a consumer that reads or not."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from native.pure import Spout
from native.pure.splice import splice
from protocol.failure import AttemptFailure, provider_disconnected, sanitise
from protocol.messages.from_provider import InferenceComplete, InferenceError, Usage
from protocol.messages.register import RegisterExtension
from protocol.messages.wire import EncryptedPayload
from protocol.sealing import ProviderKeyPair, WipeableKey, open_request
from server.answer.writer import ConsumerGone
from server.ports import WriterStopped
from server.registry import Registry, RoutingPolicy
from server.relay import (
    AttemptLimits,
    InferenceRelay,
    QueueBounds,
    Refused,
    RelayJob,
    RelayOutcome,
    RelayServices,
    RelayTimes,
    RequestStamps,
    SettlementRecord,
)
from tests.unit.server.registry.fleet import heartbeat, register_message, trusted, wire_slot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from native import SpliceTemplate
    from protocol.api.errors import ApiError
    from server.ports import AttemptSink

    Script = Callable[["Served"], Awaitable[None]]

MODEL = "m"


def delta(text: str) -> bytes:
    """One content chunk as a provider sends it."""
    return b'data: {"choices":[{"index":0,"delta":{"content":%b},"finish_reason":null}]}\n\n' % msgspec.json.encode(
        text
    )


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def error_of(outcome: object) -> ApiError:
    """The error of a refused request."""
    assert isinstance(outcome, Refused)
    return outcome.error


class Served:
    """One request at a provider, with the words that a provider can say; nothing happens once the id is gone."""

    def __init__(self, channel: FakeChannel, sink: AttemptSink, shared: WipeableKey) -> None:
        self.channel = channel
        self.sink = sink
        self.shared = shared
        self.body: dict[str, Any] = {}
        self.budget_ms = 0
        self.cache_scope = ""
        self.template: SpliceTemplate | None = None
        self.spout: Spout | None = None
        self.cancelled = trio.Event()
        self.spliced = 0

    @property
    def live(self) -> bool:
        return self.channel.pending.get(self.sink.request_id) is self

    def say(self, plaintext: bytes) -> None:
        """A chunk, spliced if the pump would."""
        if not self.live:
            return
        ready = splice(plaintext, self.template) if self.template is not None else None
        if ready is not None:
            self.spliced += 1
            if self.spout is None or not self.spout.takes(len(ready.ready)):
                self.sink.on_run(ready.ready, 1, ready.text_bytes)
            elif not self.spout.write(ready.ready, 1, ready.text_bytes, trio.current_time()):
                self.sink.on_stuck()
        else:
            self.sink.on_opened(plaintext)

    def accept(self) -> None:
        if self.live:
            self.sink.on_accepted()

    def complete(
        self, prompt: int = 3, completion: int = 2, *, cached: int = 0, cache_outcome: str = "", **fields: Any
    ) -> None:
        if self.end():
            usage = Usage(
                prompt_tokens=prompt,
                completion_tokens=completion,
                cached_tokens=cached,
                cache_outcome=cache_outcome,
            )
            self.sink.on_complete(InferenceComplete(request_id=self.sink.request_id, usage=usage, **fields))

    def error(self, **fields: Any) -> None:
        if self.end():
            self.sink.on_error(sanitise(InferenceError(request_id=self.sink.request_id, **fields)))

    def violate(self) -> None:
        if self.end():
            self.sink.on_violation("open")

    def bad_text(self) -> None:
        if self.end():
            self.sink.on_bad_text()

    def gone(self, failure: AttemptFailure | None = None) -> None:
        if self.end():
            self.sink.on_gone(failure or provider_disconnected())

    def end(self) -> bool:
        if not self.live:
            return False
        del self.channel.pending[self.sink.request_id]
        self.shared.wipe()
        return True


class FakeChannel:
    """Implements ProviderChannel without a socket; `script` runs for every request that arrives."""

    def __init__(self, session_id: str, nursery: trio.Nursery, script: Script) -> None:
        self.session_id = session_id
        self.keys = ProviderKeyPair.generate()
        self.public_key = self.keys.public
        self.script = script
        self.pending: dict[str, Served] = {}
        self.seen: list[Served] = []
        self.cancels: list[str] = []
        self.log: list[str] = []
        self.send_delay = 0.0
        self.send_error: Exception | None = None
        self.stopped = False
        self._nursery = nursery
        self._sent: set[str] = set()

    def attach(self, sink: AttemptSink, shared: WipeableKey, *, opaque: bool = False) -> None:
        assert not opaque
        if self.stopped:
            shared.wipe()
            raise WriterStopped("closing")
        self.pending[sink.request_id] = Served(self, sink, shared)

    def detach(self, request_id: str) -> bool:
        served = self.pending.pop(request_id, None)
        if served is None:
            return False
        self.log.append("detach")
        served.shared.wipe()
        return True

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        if request_id in self.pending:
            self.pending[request_id].template = template

    def set_spout(self, request_id: str, spout: Spout | None) -> None:
        # Only the twin's spout can be written to from here; with the other one runs go up, which is always right.
        if request_id in self.pending and isinstance(spout, Spout):
            self.pending[request_id].spout = spout

    async def send_request(self, request_id: str, frame: bytes) -> None:
        if self.send_delay:
            await trio.sleep(self.send_delay)
        if self.send_error is not None:
            raise self.send_error
        served = self.pending.get(request_id)
        if served is None:
            raise WriterStopped("gone")
        message = json.loads(frame)
        sealed = EncryptedPayload(**message["encrypted_body"])
        plaintext, shared = open_request(sealed, self.keys)
        assert bytes(shared.view()) == bytes(served.shared.view())
        shared.wipe()
        served.body = json.loads(bytes(plaintext))
        served.budget_ms = message["first_content_budget_ms"]
        served.cache_scope = message.get("cache_scope", "")
        self._sent.add(request_id)
        self.seen.append(served)
        self._nursery.start_soon(self.script, served)
        await trio.lowlevel.checkpoint()

    def cancel(self, request_id: str) -> None:
        if request_id not in self._sent:
            return
        self.log.append("cancel")
        self.cancels.append(request_id)
        for served in self.seen:
            if served.sink.request_id == request_id:
                served.cancelled.set()

    def abort(self, code: int, reason: str) -> None:
        raise AssertionError((code, reason))


class Ledger:
    """A settlement that remembers, and can be slow or broken."""

    def __init__(self) -> None:
        self.records: list[SettlementRecord] = []
        self.delay = 0.0
        self.error: Exception | None = None

    async def settle(self, record: SettlementRecord) -> None:
        self.records.append(record)
        if self.error is not None:
            raise self.error
        await trio.sleep(self.delay)

    @property
    def only(self) -> SettlementRecord:
        (record,) = self.records
        return record


class ConsumerSpout(Spout):
    """A spout into a Consumer: no socket and no framing, and what is not taken waits with the consumer at once."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._open = False
        self.stuck = False
        self.deltas = self.text_bytes = self.sent_bytes = 0
        self.written_at = 0.0

    def takes(self, size: int) -> bool:
        return self._open

    def write(self, run: bytes, deltas: int, text_bytes: int, now: float) -> bool:
        assert self._consumer.idle
        self.deltas += deltas
        self.text_bytes += text_bytes
        self.written_at = now
        return self._consumer.write_now(run)


class Consumer:
    """An AnswerWriter that collects; `hold` makes it stop taking bytes. `spouting`: a pump may write too."""

    def __init__(self, *, direct: bool = True, spouting: bool = True) -> None:
        self.direct = direct
        self.spout: Spout | None = ConsumerSpout(self) if direct and spouting else None
        self.closed = False
        self.data = bytearray()
        self.waiting = bytearray()
        self.sync_writes = 0
        self._open = trio.Event()
        self._open.set()

    @property
    def idle(self) -> bool:
        return not self.waiting

    def hold(self) -> None:
        if self._open.is_set():
            self._open = trio.Event()

    def resume(self) -> None:
        self._open.set()

    def write_now(self, data: bytes) -> bool:
        if self.closed:
            return False
        self.waiting += data
        if self.direct and self._open.is_set():
            self.sync_writes += 1
            self.data += self.waiting
            self.waiting.clear()
            return True
        if self.spout is not None:
            self.spout.shut()
        return False

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()
        await self._open.wait()
        if self.closed:
            raise ConsumerGone("gone")
        self.data += self.waiting
        self.waiting.clear()

    async def write(self, data: bytes) -> None:
        self.waiting += data
        await self.drain()

    @property
    def text(self) -> str:
        """Concatenated content of the stream so far."""
        return "".join(
            chunk["choices"][0]["delta"].get("content", "")
            for chunk in self.events
            if chunk != "[DONE]" and chunk.get("choices")
        )

    @property
    def events(self) -> list[Any]:
        found: list[Any] = []
        for event in bytes(self.data).decode().split("\n\n"):
            if event.startswith("data: "):
                payload = event.removeprefix("data: ")
                found.append(payload if payload == "[DONE]" else json.loads(payload))
        return found


class World:
    """Everything together; `provider` adds a machine, `ask` sends a request and reads the answer."""

    def __init__(self, nursery: trio.Nursery, **limits: Any) -> None:
        self.nursery = nursery
        policy = RoutingPolicy(quality_cap=False, **limits.pop("policy", {}))
        self.registry = Registry(clock=trio.current_time, policy=policy, random=Random(3))
        self.ledger = Ledger()
        self.services = RelayServices(
            registry=self.registry,
            settlement=self.ledger,
            times=RelayTimes(**limits.pop("times", {})),
            limits=AttemptLimits(**limits.pop("attempts", {})),
            bounds=QueueBounds(**limits.pop("bounds", {})),
            **limits,
        )
        self.relay = InferenceRelay(self.services)
        self.channels: dict[str, FakeChannel] = {}

    def provider(
        self,
        name: str,
        script: Script,
        *,
        cold: bool = False,
        concurrency: int = 0,
        features: tuple[str, ...] = (),
    ) -> FakeChannel:
        channel = FakeChannel(name, self.nursery, script)
        self.channels[name] = channel
        now = trio.current_time()
        self.registry.register(
            session_id=name,
            message=register_message(darkbloom=RegisterExtension(features=features)),
            channel=channel,
            stable_id=f"dev-{name}",
            account_id="owner",
            trust=trusted(now),
            now=now,
        )
        if not cold:
            slot = wire_slot(max_concurrency=concurrency, active_token_budget_max=1_000_000)
            self.registry.heartbeat(name, heartbeat(slot), now)
        return channel

    def job(self, **changes: Any) -> RelayJob:
        now = trio.current_time()
        values: dict[str, Any] = {
            "coord_request_id": "coord-1",
            "public_model": "alias",
            "build": MODEL,
            "prompt_tokens": 10,
            "prompt_tokens_hold": 500,
            "max_tokens": 100,
            "stream": True,
            "include_usage": True,
            "created": 1_780_000_000,
            "stamps": RequestStamps(received=now, parsed=now, reserved=now),
            "make_body": lambda build: json.dumps({"model": build, "messages": [1]}).encode(),
            "account_id": "acct",
        }
        return RelayJob(**{**values, **changes})

    async def ask(self, job: RelayJob | None = None, consumer: Consumer | None = None) -> tuple[RelayOutcome, Consumer]:
        """Run a request; a stream is read to its end."""
        reader = consumer or Consumer()
        outcome = await self.relay.run(job or self.job())
        produce = getattr(outcome, "produce", None)
        if produce is not None:
            await produce(reader)
        return outcome, reader

    def reserved(self) -> int:
        """Reservations in all ledgers."""
        return sum(len(session.ledger) for session in self.registry.sessions())

    async def settled(self) -> SettlementRecord:
        """Wait until the relay has nothing left, and return the one settlement."""
        with trio.fail_after(3_000):
            while self.relay.active:
                await trio.sleep(1)
        return self.ledger.only


@asynccontextmanager
async def open_world(**limits: Any) -> AsyncIterator[World]:
    """A world whose relay serves; everything in it ends with the block."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, **limits)
        await nursery.start(world.relay.serve)
        yield world
        nursery.cancel_scope.cancel()


def saying(*texts: str, completion: int = 2, pause: float = 0.0) -> Script:
    """A provider that answers with these texts."""

    async def script(served: Served) -> None:
        served.say(ROLE)
        for text in texts:
            await trio.sleep(pause)
            served.say(delta(text))
        served.say(STOP)
        served.say(b"data: [DONE]\n\n")
        served.complete(completion=completion)

    return script


def failing(**fields: Any) -> Script:
    """A provider that answers with an error."""

    async def script(served: Served) -> None:
        served.error(**fields)

    return script


async def silent(served: Served) -> None:
    """A provider that says nothing."""
