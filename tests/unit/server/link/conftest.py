"""A provider link with recorded registry and sinks, and a scripted provider that seals and signs for real."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair

import native
from protocol import codec
from protocol.attestation import AttestationFacts
from protocol.identity import Posture, SoftwareSigner, build_attestation, build_challenge_reply
from protocol.messages.from_provider import (
    EncryptedPayload,
    Hardware,
    InferenceResponseChunk,
    ModelEntry,
    PrivacyCapabilities,
    Register,
)
from protocol.messages.to_provider import AttestationChallenge
from protocol.messages.wire import Message
from protocol.rfc3339 import format_rfc3339
from protocol.sealing import ProviderKeyPair, SealedRequest, seal_for_provider
from server.link import CountingMeter, LinkContext, LinkSettings, ProviderLink
from server.link.session import ProviderSession
from server.listener.head import parse_head
from server.ports import TrustState
from server.trust import TrustDesk, TrustPolicy

WALL = 1_784_116_800.0
MASK = b"\x01\x02\x03\x04"
CAPABILITIES = PrivacyCapabilities(
    text_backend_inprocess=True,
    text_proxy_disabled=True,
    anti_debug_enabled=True,
    core_dumps_disabled=True,
    env_scrubbed=True,
)
GOOD_POSTURE = Posture(sip_enabled=True, secure_boot_enabled=True, rdma_disabled=True)
UPGRADE = (
    b"GET /ws/provider HTTP/1.1\r\nHost: c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class RecordingRegistry:
    """Remembers every call in order, and the trust of each session."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.trust: dict[str, TrustState] = {}
        self.heartbeats: dict[str, int] = {}

    def register(self, **kwargs: Any) -> None:
        self.calls.append(("register", kwargs["session_id"], kwargs["stable_id"], kwargs["account_id"]))
        self.trust[kwargs["session_id"]] = kwargs["trust"]

    def heartbeat(self, session_id: str, message: Any, now: float) -> None:
        self.calls.append(("heartbeat", session_id))

    def models_update(self, session_id: str, message: Any, now: float) -> None:
        self.calls.append(("models_update", session_id))

    def load_model_status(self, session_id: str, message: Any, now: float) -> None:
        self.calls.append(("load_model_status", session_id, message.status))

    def set_trust(self, session_id: str, trust: TrustState, now: float) -> None:
        self.trust[session_id] = trust

    def mark_draining(self, session_id: str, now: float) -> None:
        self.calls.append(("mark_draining", session_id))

    def disconnect(self, session_id: str, now: float, *, graceful: bool) -> None:
        self.calls.append(("disconnect", session_id, graceful))

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] == name]


class RecordingSink:
    """Remembers what an attempt heard; `on_event` may be set to act from inside a call."""

    def __init__(self, request_id: str = "11111111-1111-4111-8111-111111111111") -> None:
        self.request_id = request_id
        self.heard: list[tuple[Any, ...]] = []
        self.on_event: Callable[[str], None] = lambda _name: None

    def _hear(self, *what: Any) -> None:
        self.heard.append(what)
        self.on_event(what[0])

    def on_run(self, ready: bytes, deltas: int, text_bytes: int) -> None:
        self._hear("run", ready, deltas, text_bytes)

    def on_stuck(self) -> None:
        self._hear("stuck")

    def on_opened(self, plaintext: bytes) -> None:
        self._hear("opened", plaintext)

    def on_opaque(self, ct: bytes) -> None:
        self._hear("opaque", ct)

    def on_accepted(self) -> None:
        self._hear("accepted")

    def on_complete(self, complete: Any) -> None:
        self._hear("complete", complete.usage.completion_tokens)

    def on_error(self, failure: Any) -> None:
        self._hear("error", failure.code)

    def on_violation(self, rule: str) -> None:
        self._hear("violation", rule)

    def on_bad_text(self) -> None:
        self._hear("bad_text")

    def on_gone(self, failure: Any) -> None:
        self._hear("gone", failure.reason)

    @property
    def terminals(self) -> list[str]:
        ends = {"complete", "error", "violation", "bad_text", "gone"}
        return [what[0] for what in self.heard if what[0] in ends]


@dataclass
class FakeProvider:
    """The provider's end of one connection, frame by frame."""

    stream: trio.abc.Stream
    signer: SoftwareSigner
    keys: ProviderKeyPair
    wall: Callable[[], float]
    backend: str = "mlx-python"
    dev: bool = True
    posture: Posture = GOOD_POSTURE
    received: list[Message] = field(default_factory=list)
    closed: int | None = None
    head: bytes = b""
    pongs: list[bytes] = field(default_factory=list)
    answer_pings: bool = True

    def __post_init__(self) -> None:
        self._pump = native.Pump(max_message_bytes=32 << 20, masked_input=False)
        self._waiting: list[Message] = []
        self._sending = trio.Lock()

    async def send_bytes(self, data: bytes) -> None:
        async with self._sending:
            await self.stream.send_all(data)

    async def keep_answering(self) -> None:
        """Answer challenges and pings until the connection ends."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while (message := await self.next()) is not None:
                if isinstance(message, AttestationChallenge):
                    await self.send(self.answer_to(message))

    async def send_text(self, text: bytes, opcode: int = 1) -> None:
        await self.send_bytes(native.encode_frame(opcode, text, mask=MASK))

    async def send(self, *messages: Message) -> None:
        await self.send_bytes(
            b"".join(native.encode_frame(1, codec.encode(message), mask=MASK) for message in messages)
        )

    async def close(self, code: int) -> None:
        await self.send_text(code.to_bytes(2), 8)

    async def read_head(self) -> bytes:
        """Read the upgrade answer; bytes behind it stay for `next`."""
        while b"\r\n\r\n" not in self.head:
            data = bytes(await self.stream.receive_some(65536))
            if not data:
                return self.head
            self.head += data
        self.head, _, rest = self.head.partition(b"\r\n\r\n")
        await self._feed(rest)
        return self.head

    async def next(self) -> Message | None:
        """Return the next message from the coordinator, None when the connection ended."""
        while not self._waiting:
            if self.closed is not None:
                return None
            try:
                data = bytes(await self.stream.receive_some(65536))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.closed = self.closed or 1006
                return None
            await self._feed(data)
        return self._waiting.pop(0)

    async def expect(self, kind: type[Message]) -> Any:
        """Return the next message of this type; others are skipped."""
        while (message := await self.next()) is not None:
            if isinstance(message, kind):
                return message
        raise AssertionError(f"closed with {self.closed} while waiting for {kind.__name__}")

    async def drain(self) -> list[Message]:
        """Return all messages that are there now, without waiting for more."""
        got: list[Message] = []
        with trio.move_on_after(0.01):
            while (message := await self.next()) is not None:
                got.append(message)
        return got

    async def wait_closed(self) -> int:
        """Read on until the connection ends and return the close code, 1006 without one."""
        while await self.next() is not None:
            pass
        assert self.closed is not None
        return self.closed

    async def _feed(self, data: bytes) -> None:
        for kind, _, payload, a, _b in self._pump.feed(data):
            if kind == native.EV_MESSAGE:
                message = codec.decode_to_provider(payload)
                self.received.append(message)
                self._waiting.append(message)
            elif kind == native.EV_PING:
                if self.answer_pings:
                    await self.send_text(payload, 10)
            elif kind == native.EV_PONG:
                self.pongs.append(payload)
            elif kind == native.EV_CLOSE:
                self.closed = a

    def registration(self, **changes: Any) -> Register:
        facts = AttestationFacts(
            sip_enabled=not self.dev,
            secure_boot_enabled=not self.dev,
            secure_enclave_available=not self.dev,
            rdma_disabled=True,
            dev_attestation=self.dev,
        )
        fields: dict[str, Any] = {
            "hardware": Hardware(memory_gb=64),
            "models": (ModelEntry(id="m", size_bytes=1),),
            "backend": self.backend,
            "public_key": self.keys.public_text,
            "encrypted_response_chunks": True,
            "privacy_capabilities": CAPABILITIES,
            "attestation": build_attestation(
                self.signer,
                facts=facts,
                encryption_public_key=self.keys.public_text,
                timestamp=format_rfc3339(self.wall()),
            ),
        }
        return Register(**(fields | changes))

    def answer_to(self, challenge: AttestationChallenge, **changes: Any) -> Message:
        posture = replace(self.posture, **changes)
        return build_challenge_reply(self.signer, challenge.nonce, challenge.timestamp, posture, self.keys.public_text)

    async def register(self, *, prove: bool = True, **changes: Any) -> None:
        """Register, and pass the first challenge unless told otherwise."""
        await self.send(self.registration(**changes))
        if prove:
            await self.prove()

    async def prove(self) -> None:
        await self.send(self.answer_to(await self.expect(AttestationChallenge)))
        await trio.testing.wait_all_tasks_blocked()

    def chunk(self, request_id: str, plaintext: bytes, sealed: SealedRequest) -> InferenceResponseChunk:
        shared = self.keys.shared_with(base64.b64decode(sealed.ephemeral_public_key))
        return InferenceResponseChunk(
            request_id=request_id,
            encrypted_data=EncryptedPayload(
                ephemeral_public_key=self.keys.public_text,
                ciphertext=native.seal(plaintext, shared.view()).decode(),
            ),
        )


@dataclass
class World:
    """One provider link under test; `connect` opens a connection to it."""

    link: ProviderLink
    context: LinkContext
    registry: RecordingRegistry
    meter: CountingMeter
    nursery: trio.Nursery
    wall: Callable[[], float]
    kind: str
    far_ends: list[trio.abc.Stream] = field(default_factory=list)

    async def connect(
        self,
        *,
        ip: str = "10.0.0.1",
        head: bytes = UPGRADE,
        leftover: bytes = b"",
        signer: SoftwareSigner | None = None,
    ) -> FakeProvider:
        near, far = self._streams()
        self.far_ends.append(far)
        self.nursery.start_soon(self.link.serve, near, parse_head(head), leftover, ip)
        provider = FakeProvider(far, signer or SoftwareSigner.generate(), ProviderKeyPair.generate(), self.wall)
        await provider.read_head()
        return provider

    async def registered(self, **kwargs: Any) -> tuple[FakeProvider, ProviderSession]:
        """Open a connection whose provider registered and passed its first challenge."""
        before = set(self.context.sessions)
        provider = await self.connect(**kwargs)
        await provider.register()
        (session_id,) = set(self.context.sessions) - before
        return provider, self.context.sessions[session_id]

    def _streams(self) -> tuple[trio.abc.Stream, trio.abc.Stream]:
        if self.kind == "memory":
            return memory_stream_pair()
        left, right = socket.socketpair()
        return tuple(trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in (left, right))  # type: ignore[return-value]


def attach(session: ProviderSession, sink: RecordingSink, *, opaque: bool = False) -> SealedRequest:
    """Attach a sink with a fresh session key; the request is not sent."""
    sealed = seal_for_provider(b"{}", session.public_key)
    session.attach(sink, sealed.shared, opaque=opaque)
    return sealed


@asynccontextmanager
async def open_world(
    kind: str, *, settings: LinkSettings | None = None, policy: TrustPolicy | None = None, **context_fields: Any
) -> AsyncIterator[World]:
    """Run a provider link; everything ends with the block."""
    registry = RecordingRegistry()
    meter = CountingMeter()
    start = trio.current_time()

    def wall() -> float:
        return WALL + trio.current_time() - start

    desk = TrustDesk(
        policy=policy or TrustPolicy(min_trust="self_signed", allow_dev=True), wall_clock=wall, spread=lambda: 0.0
    )
    context = LinkContext(
        registry=registry, desk=desk, settings=settings or LinkSettings(), meter=meter, **context_fields
    )
    link = ProviderLink(context)
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        world = World(link, context, registry, meter, nursery, wall, kind)
        yield world
        for stream in world.far_ends:
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


@pytest.fixture(params=["memory", "socket"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A provider link over in-memory streams, and again over real sockets."""
    async with open_world(request.param) as opened:
        yield opened
