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
    CapacityProbe,
    DesiredModels,
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
from provider.link.heard import Heard
from provider.link.orders import Orders
from provider.link.outbox import ControlLaneFull, Outbox
from provider.link.ports import ProviderPort
from provider.link.significance import is_significant
from provider.link.status import LinkStatus
from provider.link.timing import LinkTiming
from provider.observe.events import ProviderEvent
from provider.observe.place import last_place

log = logging.getLogger(__name__)

MAX_CHALLENGES: Final = 8
MAX_LOADS: Final = 32
MAX_UNSENT_REQUESTS: Final = 512
"""Requests with frames that the coordinator has not taken; twice what the whole process ever runs."""

TOO_MANY_LOADS: Final = "this provider has too many load orders already"


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
        self._challenges = Orders("challenge", MAX_CHALLENGES, self._start)
        self._loads = Orders("load", MAX_LOADS, self._start)
        self._prefetches = Orders("prefetch", MAX_LOADS, self._start)
        self._sequence = 0
        self._heard = Heard(status, on_event, wall_clock=wall_clock)
        self._is_leaving = False
        self._ended = trio.Event()
        self._drain_acks: dict[str, trio.Event] = {}

    async def run(self) -> None:
        """Register and serve until the connection ends; then cancel its requests. Never raises for a peer's fault."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    for task in (self._write, self._read, self._ping, self._serve):
                        self._start(task)
        finally:
            self._ended.set()
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
            async with trio.open_nursery() as either:
                for event in (acknowledged, self._ended):
                    either.start_soon(_cancel_after, event, either.cancel_scope)
        del self._drain_acks[barrier_id]
        return acknowledged.is_set()

    async def say_goodbye(self) -> None:
        """Close with code 1001, so that the coordinator sees a leave and no crash; then end."""
        if self._ended.is_set():
            return
        self._is_leaving = True
        with trio.move_on_after(self._timing.close):
            await self._socket.aclose(1001, "provider stopping")
        self.end("goodbye")

    async def _serve(self) -> None:
        await self._register()
        await self._beat()

    async def _register(self) -> None:
        models_seen = self._port.models_version
        self._send(encode(await self._port.register_frame(self._nonce)))
        self.registered_at = trio.current_time()
        self._status.registered = True
        log.info("registered with the coordinator")
        self._on_event(ProviderEvent(kind="registered"))
        self._start(partial(self._announce_models, models_seen))

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
                self._heard.rejected(rejected, payload)
            else:
                self._handle(decoded)

    def _handle(self, message: ToProvider) -> None:
        match message:
            case InferenceRequest() if self._outbox.unsent_requests >= MAX_UNSENT_REQUESTS:
                self.end("data_lane_full")
            case InferenceRequest():
                self._port.accept_request(message, self._outbox.lane(self))
            case Cancel():
                self._port.cancel_request(message.request_id)
            case AttestationChallenge():
                self._challenges.start(partial(self._answer_challenge, message))
            case LoadModel():
                if not self._loads.start(partial(self._load_model, message)):
                    refused = LoadModelStatus(model_id=message.model_id, status="failed", error=TOO_MANY_LOADS)
                    self._send(encode(refused))
            case PrefetchModel():
                if not self._prefetches.start(partial(self._prefetch_model, message)):
                    self._report(PrefetchModelStatus(model_id=message.model_id, status="failed", error=TOO_MANY_LOADS))
            case DesiredModels():
                self._port.desire_models(message.models)
            case CapacityProbe():
                self._send(encode(self._port.quote(message, self._sequence)))
            case TrustStatus():
                self._heard.trust(message)
            case RuntimeStatus():
                self._heard.runtime(message)
            case ProviderDrainAck():
                if (acknowledged := self._drain_acks.get(message.request_id)) is not None:
                    acknowledged.set()
            case _:
                self._heard.ignored(message.TYPE)

    async def _answer_challenge(self, challenge: AttestationChallenge) -> None:
        self._send(encode(await self._port.challenge_reply(challenge)))

    async def _load_model(self, order: LoadModel) -> None:
        self._send(encode(LoadModelStatus(model_id=order.model_id, status="started")))
        error = await self._port.load_model(order.model_id)
        status = LoadModelStatus(
            model_id=order.model_id, status="succeeded" if error is None else "failed", error=error or ""
        )
        self._send(encode(status))

    async def _prefetch_model(self, order: PrefetchModel) -> None:
        await self._port.prefetch_model(order.model_id, self._report)

    def _report(self, status: PrefetchModelStatus) -> None:
        self._send(encode(status))

    async def _announce_models(self, seen: int) -> None:
        while True:
            seen = await self._port.wait_models(seen)
            constrained = self._port.constrained_models()
            update = ModelsUpdate(
                models=self._port.models(),
                tool_constraint_protocol=int(bool(constrained)),
                tool_constraint_models=constrained,
            )
            self._send(encode(update))

    async def _beat(self) -> None:
        """Send heartbeats: at once, every interval, and when the load moved, these at most one in a window."""
        last_event = float("-inf")
        while True:
            self._sequence += 1
            beat = await self._port.heartbeat(self._sequence)
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
        while True:
            self._start(self._ping_once)
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

    def _start(self, task: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._guarded, task)

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """A fault of ours ends this connection, not the daemon; its text may hold anything and stays here."""
        try:
            await task()
        except Exception as error:
            place = last_place(error)
            log.error("connection failed", extra={"fault": type(error).__name__, "place": place})
            self.end("internal_fault")

    def _send(self, frame: bytes) -> None:
        try:
            self._outbox.put_control(frame)
        except ControlLaneFull:
            self.end("control_lane_full")


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
