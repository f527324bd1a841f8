"""One connection from registration to its end: reader, writer, heartbeats and pings under one cancel scope.

Invariant: `end` is the one way to finish; the first reason counts, and every task of the connection ends with it.
Invariant: the reader never waits for a handler, so cancels, challenges and pongs pass at once.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio
from trio_websocket import ConnectionClosed

import native
from protocol.codec import FrameRejected, decode_to_provider, encode
from protocol.messages.from_provider import (
    Heartbeat,
    LoadModelStatus,
    ModelsUpdate,
    PrefetchModelStatus,
    ProviderDrain,
)
from protocol.messages.to_provider import (
    AttestationChallenge,
    Cancel,
    InferenceRequest,
    LoadModel,
    PrefetchModel,
    ProviderDrainAck,
    RuntimeStatus,
    ToProvider,
    TrustStatus,
)
from provider.link.bell import Bell
from provider.link.connect import Connection
from provider.link.outbox import ControlLaneFull, Outbox
from provider.link.ports import ProviderPort
from provider.link.significance import is_significant
from provider.link.status import LinkStatus
from provider.link.timing import LinkTiming
from provider.observe.events import ProviderEvent

log = logging.getLogger(__name__)

MAX_ORDERS: Final = 32
"""Challenges and load orders that may be in progress; a coordinator that sends more is not answered at once."""

MAX_KNOWN_STRANGERS: Final = 64
NO_DOWNLOADS: Final = "this provider does not download models"


class LinkSession:
    """`run` is called once. `on_change` hears what a display wants to know."""

    def __init__(
        self,
        connection: Connection,
        port: ProviderPort,
        *,
        timing: LinkTiming,
        bell: Bell,
        status: LinkStatus,
        on_event: Callable[[ProviderEvent], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.registered_at: float | None = None
        self.end_reason = ""
        self._socket = connection.socket
        self._stream = connection.stream
        self._nonce = connection.registration_nonce
        self._port = port
        self._timing = timing
        self._bell = bell
        self._status = status
        self._on_event = on_event
        self._wall_clock = wall_clock
        self._outbox = Outbox()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._orders = 0
        self._is_leaving = False
        self._drain_acks: dict[str, trio.Event] = {}

    async def run(self) -> None:
        """Register and serve until the connection ends; then cancel its requests. Never raises for a peer's fault."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._ping)
                    await self._register()
                    nursery.start_soon(self._beat)
        finally:
            self._outbox.close()
            self._port.connection_lost(self)

    def end(self, reason: str) -> None:
        """Finish the connection; `reason` is from closed words."""
        self.end_reason = self.end_reason or reason
        self._scope.cancel()

    async def barrier(self) -> bool:
        """Wait until the coordinator has booked every terminal sent before; False without its word in time."""
        barrier_id = secrets.token_hex(16)
        acknowledged = self._drain_acks[barrier_id] = trio.Event()
        self._outbox.lane(self).put(encode(ProviderDrain(request_id=barrier_id)))
        with trio.move_on_after(self._timing.drain_ack):
            await acknowledged.wait()
        del self._drain_acks[barrier_id]
        return acknowledged.is_set()

    async def say_goodbye(self) -> None:
        """Close with code 1001, so that the coordinator sees a leave and no crash; then end."""
        self._is_leaving = True
        with trio.move_on_after(self._timing.close):
            await self._socket.aclose(1001, "provider stopping")
        self.end("goodbye")

    async def _register(self) -> None:
        models_seen = self._port.models_version
        self._send(encode(await self._port.register_frame(self._nonce)))
        self.registered_at = trio.current_time()
        self._status.registered = True
        log.info("registered with the coordinator")
        self._on_event(ProviderEvent(kind="registered"))
        assert self._nursery is not None
        self._nursery.start_soon(self._announce_models, models_seen)

    async def _write(self) -> None:
        while True:
            batch = await self._outbox.take()
            try:
                await self._stream.send_frames(batch)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return self.end("write_failed")

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.get_message()
            except ConnectionClosed as closed:
                if self._is_leaving:
                    return None  # the goodbye waits for the peer's answer and ends the connection then
                return self.end("disconnected" if closed.reason is None else f"ws_close_{int(closed.reason.code)}")
            payload = message.encode() if isinstance(message, str) else bytes(message)
            try:
                decoded = decode_to_provider(payload)
            except FrameRejected as rejected:
                self._ignore(rejected, payload)
            else:
                self._handle(decoded)

    def _handle(self, message: ToProvider) -> None:
        match message:
            case InferenceRequest():
                self._port.accept_request(message, self._outbox.lane(self))
            case Cancel():
                self._port.cancel_request(message.request_id)
            case AttestationChallenge():
                self._start_order(partial(self._answer_challenge, message))
            case LoadModel():
                self._start_order(partial(self._load_model, message))
            case PrefetchModel():
                refused = PrefetchModelStatus(model_id=message.model_id, status="failed", error=NO_DOWNLOADS)
                self._send(encode(refused))
            case TrustStatus():
                self._note_trust(message)
            case RuntimeStatus():
                self._note_runtime(message)
            case ProviderDrainAck():
                if (acknowledged := self._drain_acks.get(message.request_id)) is not None:
                    acknowledged.set()
            case _:
                self._count_ignored(message.TYPE)

    def _start_order(self, handle: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None
        if self._orders >= MAX_ORDERS:
            log.warning("too many orders at once")
            return
        self._orders += 1
        self._nursery.start_soon(self._run_order, handle)

    async def _run_order(self, handle: Callable[[], Awaitable[None]]) -> None:
        try:
            await handle()
        finally:
            self._orders -= 1

    async def _answer_challenge(self, challenge: AttestationChallenge) -> None:
        self._send(encode(await self._port.challenge_reply(challenge)))

    async def _load_model(self, order: LoadModel) -> None:
        self._send(encode(LoadModelStatus(model_id=order.model_id, status="started")))
        error = await self._port.load_model(order.model_id)
        status = LoadModelStatus(
            model_id=order.model_id, status="succeeded" if error is None else "failed", error=error or ""
        )
        self._send(encode(status))

    async def _announce_models(self, seen: int) -> None:
        while True:
            seen = await self._port.wait_models(seen)
            self._send(encode(ModelsUpdate(models=self._port.models())))

    async def _beat(self) -> None:
        """Send heartbeats: at once, every interval, and when the load moved, these at most one in a window."""
        sequence = 0
        last_event = float("-inf")
        while True:
            sequence += 1
            beat = await self._port.heartbeat(sequence)
            self._send(encode(beat))
            due = trio.current_time() + self._timing.heartbeat
            if await self._moves_before(due, beat, last_event):
                last_event = trio.current_time()

    async def _moves_before(self, due: float, sent: Heartbeat, last_event: float) -> bool:
        """Wait for a significant change, but not beyond `due`; a change inside the window is seen at its end."""
        with trio.move_on_at(due):
            while True:
                await self._bell.wait()
                await trio.sleep_until(last_event + self._timing.event_window)
                self._bell.clear()
                if is_significant(sent, await self._port.heartbeat(0)):
                    return True
        return False

    async def _ping(self) -> None:
        """Ping for ever; end when a pong is missing, or when the machine slept through a pause."""
        assert self._nursery is not None
        while True:
            self._nursery.start_soon(self._ping_once)
            before = self._wall_clock()
            await trio.sleep(self._timing.ping)
            if self._wall_clock() - before > self._timing.suspended:
                return self.end("suspended")

    async def _ping_once(self) -> None:
        with trio.move_on_after(self._timing.pong) as limit:
            try:
                await self._socket.ping()
            except ConnectionClosed:
                self.end("disconnected")
        if limit.cancelled_caught:
            self.end("pong_timeout")

    def _send(self, frame: bytes) -> None:
        try:
            self._outbox.put_control(frame)
        except ControlLaneFull:
            self.end("control_lane_full")

    def _note_trust(self, message: TrustStatus) -> None:
        before, self._status.trust = self._status.trust, message
        if before == message:
            return
        trusted = message.trust_level != "none" and message.status == "online"
        log.log(
            logging.INFO if trusted else logging.WARNING,
            "trust changed",
            extra={
                "level_now": message.trust_level[:64],
                "status": message.status[:64],
                "reason": message.reason[:256],
            },
        )
        text = message.trust_level if trusted else message.reason
        self._on_event(ProviderEvent(kind="trusted" if trusted else "untrusted", text=text[:256]))

    def _note_runtime(self, message: RuntimeStatus) -> None:
        before, self._status.runtime = self._status.runtime, message
        if before == message:
            return
        for mismatch in message.mismatches[:16]:
            log.warning(
                "runtime differs from what the coordinator accepts", extra={"component": mismatch.component[:64]}
            )
        if message.verified:
            log.info("runtime verified")

    def _ignore(self, rejected: FrameRejected, payload: bytes) -> None:
        """A frame that we do not understand changes nothing; its type is logged once."""
        name = rejected.message_type or rejected.kind
        if rejected.kind == "unknown" and (span := native.scan_type(payload)) is not None:
            name = payload[span[0] : min(span[1], span[0] + 64)].decode("ascii", "replace")
        self._count_ignored(name)

    def _count_ignored(self, name: str) -> None:
        ignored = self._status.frames_ignored
        if name not in ignored:
            if len(ignored) >= MAX_KNOWN_STRANGERS:
                name = "other"
            log.info("message ignored", extra={"type": name})
        ignored[name] = ignored.get(name, 0) + 1
