"""One provider connection from its first frame to its last: reader, state, registration, teardown.

States: OPEN (nothing registered) → REGISTERED → CLOSING (close frame sent, attempts ended) → GONE.

Invariant: one task reads, in frame order, and everything a frame causes is done before the next frame is looked at.
Invariant: teardown runs once, whoever starts it: keys are wiped, the registry forgets the session, then each pending
attempt hears its end, then the socket closes.
"""

from __future__ import annotations

import logging
import time
import uuid
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

import trio

import native
from native import (
    EV_BAD_TEXT,
    EV_CLOSE,
    EV_FATAL,
    EV_MESSAGE,
    EV_OPAQUE,
    EV_OPENED,
    EV_PING,
    EV_PONG,
    EV_RUN,
    EV_VIOLATION,
)
from protocol.codec import FrameRejected, decode_from_provider, encode
from protocol.failure import provider_disconnected, provider_gone, provider_restart
from protocol.messages.from_provider import Register
from server.link.admission import FloodGuard
from server.link.attempts import VIOLATION_RULES, Attempt, Attempts
from server.link.inbound import handle
from server.link.liveness import Liveness, LivenessAction
from server.link.registration import register
from server.link.transport import Transport, TransportLost
from server.link.writer import TwoLaneWriter
from server.ports import ChannelError

if TYPE_CHECKING:
    from native import Event, SpliceTemplate
    from protocol.failure import AttemptFailure
    from protocol.messages.to_provider import AttestationChallenge
    from protocol.messages.wire import Message
    from protocol.sealing import WipeableKey
    from server.link.context import LinkContext
    from server.link.meter import LinkEvent
    from server.ports import AttemptSink, TrustState
    from server.trust import SessionTrust

_log = logging.getLogger("darkbloom.link")

# A reader that always finds bytes gives the other tasks a turn at least this often; the clock is read once per batch.
_SLICE_SECONDS = 0.002
_ANSWER_SECONDS = 5.0
_BATCH_EVENTS = 32
_MAX_CLOSE_REASON_BYTES = 123
_HIGH_MEMORY_PRESSURE = 0.9
_NEVER = float("inf")
_GONE = "The connection to the provider is gone; try another one."
REPLACED = "replaced by new connection from same device"

_INVALID: dict[str, LinkEvent] = {
    "malformed": "frame_malformed",
    "type": "frame_type",
    "unknown": "frame_unknown",
    "invalid": "frame_invalid",
}


class SessionState(Enum):
    """Where a connection is in its life."""

    OPEN = auto()
    REGISTERED = auto()
    CLOSING = auto()
    GONE = auto()


class ProviderSession:
    """A provider connection; to the relay it is a `ProviderChannel`, to the housekeeper a client with timers."""

    __slots__ = (
        "_doomed",
        "_first",
        "_flood",
        "_pump",
        "_read_all",
        "_register_by",
        "_scope",
        "_slice_end",
        "_transport",
        "_writer",
        "attempts",
        "client_ip",
        "context",
        "due_at",
        "ended",
        "liveness",
        "memory_pressure",
        "public_key",
        "registration_nonce",
        "session_id",
        "state",
        "trust",
    )

    attempts: Attempts
    trust: SessionTrust
    _writer: TwoLaneWriter
    _scope: trio.CancelScope

    def __init__(self, context: LinkContext, transport: Transport, client_ip: str, registration_nonce: str) -> None:
        """Prepare a session for a socket that was counted as unregistered and whose upgrade was answered."""
        now = trio.current_time()
        self.context = context
        self.session_id = str(uuid.uuid4())
        self.public_key = b""
        self.state = SessionState.OPEN
        self.due_at = _NEVER
        self.liveness = Liveness(context.settings, now)
        self.memory_pressure = 0.0
        self._transport = transport
        self.client_ip = client_ip
        self.registration_nonce = registration_nonce
        self._pump = native.Pump(max_message_bytes=context.settings.max_message_bytes)
        self._flood = FloodGuard(context.settings)
        self._register_by = now + context.settings.register_seconds
        self._slice_end = 0.0
        self._first: bytes | None = None
        self._read_all = False
        self._doomed = False
        self.ended = False

    def __repr__(self) -> str:
        return f"<ProviderSession {self.session_id} {self.state.name}>"

    async def run(self, answer: bytes, leftover: bytes) -> None:
        """Send the upgrade answer and serve the connection until it ends; closes the transport.

        `leftover` are bytes of the peer that were read already. Cancelling the call is an abrupt end.
        """
        context = self.context
        context.sessions[self.session_id] = self
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self._writer = TwoLaneWriter(
                    self._transport, nursery, context.settings.writer, context.meter, self._scope.cancel
                )
                self.attempts = Attempts(
                    self._pump, self._writer, context.settings, context.meter, self._on_chunk_violation
                )
                self.plan()
                try:
                    await self._read(answer, leftover)
                finally:
                    self._end(provider_disconnected(), "disconnect")
        finally:
            self.state = SessionState.GONE
            # The nursery may have ended in the middle of a write: whoever waits for a frame must hear of it.
            self._writer.stop(_GONE)
            self._pump.close()
            await self._close_transport()

    # --- reading

    async def _read(self, answer: bytes, data: bytes | memoryview) -> None:
        """Feed the pump until the connection ends; a view is used up before anything else may run."""
        transport = self._transport
        feed = self._pump.feed
        try:
            with trio.fail_after(_ANSWER_SECONDS):
                await transport.send_all(answer)
            while True:
                if events := feed(data):
                    await self._take(events)
                    if self._read_all:
                        return
                if not transport.waited:
                    await self._yield_if_due()
                data = await transport.receive()
                if transport.waited:
                    self._slice_end = time.perf_counter() + _SLICE_SECONDS
                if not data:
                    break
        except (TransportLost, trio.TooSlowError):
            pass
        self._lose()

    async def _take(self, events: list[Event]) -> None:
        position, count = 0, len(events)
        while position < count:
            position = self._dispatch(events, position)
            if self._first is not None:
                payload, self._first = self._first, None
                await self._before_registration(payload)
            if position < count:
                await self._yield_if_due()

    async def _yield_if_due(self) -> None:
        if time.perf_counter() >= self._slice_end:
            await trio.lowlevel.checkpoint()
            self._slice_end = time.perf_counter() + _SLICE_SECONDS

    def _dispatch(self, events: list[Event], position: int) -> int:
        """Handle a batch and return the position after it; the first frame of an open connection is left aside."""
        batch = (
            events if position == 0 and len(events) <= _BATCH_EVENTS else events[position : position + _BATCH_EVENTS]
        )
        ping: bytes | None = None
        for kind, attempt, payload, a, b in cast("list[tuple[int, Attempt, bytes, int, int]]", batch):
            position += 1
            if kind == EV_RUN:
                if attempt.live:
                    attempt.sink.on_run(payload, a, b)
            elif kind == EV_OPENED:
                if attempt.live:
                    attempt.sink.on_opened(payload)
            elif kind == EV_MESSAGE:
                if self.state is SessionState.REGISTERED:
                    self._message(payload)
                elif self.state is SessionState.OPEN:
                    self._first = payload
                    break
            elif kind == EV_OPAQUE:
                if attempt.live:
                    attempt.sink.on_opaque(payload)
            elif kind == EV_PING:
                ping = payload
            else:
                self._rare_event(kind, attempt, a)
        if ping is not None:
            self._writer.pong(native.encode_frame(native.OP_PONG, ping))
        self._close_if_doomed()
        return position

    def _rare_event(self, kind: int, attempt: Attempt, a: int) -> None:
        if kind == EV_PONG:
            self.liveness.pong_at = trio.current_time()
        elif kind == EV_VIOLATION:
            self.attempts.violated(attempt, VIOLATION_RULES[a])
        elif kind == EV_BAD_TEXT:
            self.attempts.bad_text(attempt)
        elif kind == EV_CLOSE:
            self._peer_closed(a)
        elif kind == EV_FATAL:
            self.context.meter.count("frame_fatal")
            self.close(a, "the frame breaks the protocol's limits")

    def _message(self, payload: bytes) -> None:
        try:
            message = decode_from_provider(payload)
        except FrameRejected as error:
            self._invalid(_INVALID[error.kind])
            return
        handle(self, message, trio.current_time())

    def _invalid(self, event: LinkEvent) -> None:
        self.context.meter.count(event)
        if self._flood.flooded(trio.current_time()):
            self.context.meter.count("invalid_flood")
            self.close(1008, "too many invalid frames")

    # --- registration

    async def _before_registration(self, payload: bytes) -> None:
        try:
            message = decode_from_provider(payload)
        except FrameRejected as error:
            self._invalid(_INVALID[error.kind])
            return
        if isinstance(message, Register):
            await register(self, message)
        else:
            self._invalid("frame_before_register")

    def registered(self, trust: SessionTrust, public_key: bytes, key_text: str, now: float) -> None:
        """Enter the state REGISTERED; `key_text` is the registered text of a usable key, else empty."""
        self.state = SessionState.REGISTERED
        self.context.sockets.leave(self.client_ip)
        self.trust = trust
        self.public_key = public_key
        if key_text:
            self.attempts.set_peer_key(key_text)
        self.liveness.registered(now)

    def plan(self) -> None:
        """Have the housekeeper call `tick` when something is due."""
        if self.state is SessionState.OPEN:
            self.context.housekeeper.plan(self, min(self.liveness.due, self._register_by))
        elif self.state is SessionState.REGISTERED:
            self.context.housekeeper.plan(self, min(self.liveness.due, self.trust.due))

    # --- the relay's side: ProviderChannel

    def attach(self, sink: AttemptSink, shared: WipeableKey, *, opaque: bool = False) -> None:
        """Enter an attempt in the pending table."""
        self.attempts.attach(sink, shared, opaque=opaque)

    def detach(self, request_id: str) -> bool:
        """Take an attempt out of the pending table without a terminal call."""
        pending = self.attempts.detach(request_id)
        self._close_if_doomed()
        return pending

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        """Let the pump splice the common chunk of an attached attempt."""
        self.attempts.set_template(request_id, template)

    async def send_request(self, request_id: str, frame: bytes) -> None:
        """Write a request frame and return when the kernel has all of it."""
        await self.attempts.send_request(request_id, frame)

    def cancel(self, request_id: str) -> None:
        """Tell the provider to stop an attempt."""
        self.attempts.cancel(request_id)

    def abort(self, code: int, reason: str) -> None:
        """Close the connection."""
        self.close(code, reason)

    def send(self, message: Message) -> None:
        """Send a message on the control lane and do not wait; a full lane drops and counts it."""
        try:
            self._writer.submit_control(native.encode_frame(native.OP_TEXT, encode(message)))
        except ChannelError:
            self.context.meter.count("control_dropped")

    # --- trust: what its effects do (TrustPort)

    def trust_changed(self, state: TrustState) -> None:
        """Tell the registry, and hold request frames back while there is no trust."""
        self.attempts.refused = state.untrusted is not None
        if not self.ended:
            self.context.registry.set_trust(self.session_id, state, trio.current_time())

    def send_challenge(self, message: AttestationChallenge) -> None:
        """Send a challenge; its clock starts when the kernel has the frame."""

        def written(error: ChannelError | None) -> None:
            if error is None:
                self.trust.written(message.nonce, trio.current_time())
            else:
                self._challenge_unwritten(message)
            self.plan()

        self.context.meter.count("challenge_sent")
        try:
            self._writer.submit_control(native.encode_frame(native.OP_TEXT, encode(message)), written)
        except ChannelError:
            self._challenge_unwritten(message)

    def withdraw_requests(self) -> None:
        """Take back every request that has not started to be written."""
        self._writer.withdraw_data("The provider lost its trust; try another one.")

    def replaced(self) -> None:
        """End, because the same device proved itself on a newer connection."""
        self.context.meter.count("superseded")
        self.close(1000, REPLACED, provider_restart())

    def count(self, event: LinkEvent) -> None:
        """Count one event."""
        self.context.meter.count(event)

    def _challenge_unwritten(self, message: AttestationChallenge) -> None:
        self.context.meter.count("challenge_unwritten")
        self.trust.unwritten(message.nonce, trio.current_time())

    def _on_chunk_violation(self) -> None:
        self._doomed = True
        self.trust.untrust("chunk_violation")

    # --- timers

    def tick(self, now: float) -> None:
        """Do what is due: registration deadline, ping, staleness sweep, challenge."""
        if self.state is SessionState.OPEN and now >= self._register_by:
            self.context.meter.count("register_deadline")
            self.close(1008, "no register frame in time")
        for action in self.liveness.tick(now):
            self._act(action)
        if self.state is SessionState.REGISTERED:
            self.trust.tick(now)
        self.plan()

    def fail(self, error: Exception) -> None:
        """End, because a timer raised."""
        del error
        self.close(1011, "internal error")

    def _act(self, action: LivenessAction) -> None:
        meter = self.context.meter
        if action is LivenessAction.PING:
            try:
                self._writer.submit_control(native.encode_frame(native.OP_PING, b""))
            except ChannelError:
                meter.count("control_dropped")
        elif action is LivenessAction.PONG_TIMEOUT:
            meter.count("pong_timeout")
            self._lose()
        elif action is LivenessAction.STRIKE:
            meter.count("stale_strike")
        else:
            meter.count("stale_evicted")
            self.close(1001, "no heartbeat for too long")

    # --- the end

    def close(self, code: int, reason: str, failure: AttemptFailure | None = None) -> None:
        """Close in order: attempts end with `failure`, then a close frame goes out; harmless when repeated.

        The peer has `close_seconds` to answer, then the socket is cut.
        """
        if self.state in (SessionState.CLOSING, SessionState.GONE):
            return
        shutdown = failure is not None and failure.reason == "coordinator_shutdown"
        self._end(failure or provider_disconnected(), "coordinator_restart" if shutdown else "disconnect")
        self.state = SessionState.CLOSING
        payload = code.to_bytes(2) + reason.encode()[:_MAX_CLOSE_REASON_BYTES]
        self._writer.close(native.encode_frame(native.OP_CLOSE, payload))
        self._cut_after(self.context.settings.close_seconds)

    def _peer_closed(self, code: int) -> None:
        self._read_all = True
        if self.state in (SessionState.CLOSING, SessionState.GONE):
            return
        self._end(provider_gone(code), f"ws_close_{code}")
        self.state = SessionState.CLOSING
        payload = b"" if code == 1005 else code.to_bytes(2)
        self._writer.close(native.encode_frame(native.OP_CLOSE, payload))
        self._cut_after(self.context.settings.close_seconds)

    def _lose(self) -> None:
        """End without a close frame: the peer is gone, or is taken for gone."""
        exhausted = self.memory_pressure >= _HIGH_MEMORY_PRESSURE and len(self.attempts) > 0
        self._end(provider_disconnected(), "oom_suspected" if exhausted else "read_error")
        self.state = SessionState.GONE
        self._writer.stop(_GONE)
        self._transport.abort()
        self._scope.cancel()

    def _cut_after(self, seconds: float) -> None:
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)

    def _close_if_doomed(self) -> None:
        if self._doomed and not self.attempts:
            self.close(1008, "a response chunk broke the encryption rules")

    def _end(self, failure: AttemptFailure, reason: str) -> None:
        """Run the one teardown path; the first call counts."""
        if self.ended:
            return
        self.ended = True
        context = self.context
        registered = self.state is SessionState.REGISTERED
        context.housekeeper.forget(self)
        context.sessions.pop(self.session_id, None)
        if registered:
            self.trust.leave()
        else:
            context.sockets.leave(self.client_ip)
        attempts = self.attempts.close()
        if registered:
            context.registry.disconnect(self.session_id, trio.current_time(), graceful=failure.health == "neutral")
        for attempt in attempts:
            try:
                attempt.sink.on_gone(failure)
            except Exception:
                # The other attempts must hear their end whatever happens to this one.
                context.meter.count("sink_error")
                _log.exception("an attempt failed while its connection ended")
        _log.info("provider_session_ended", extra={"session": self.session_id, "reason": reason})

    async def _close_transport(self) -> None:
        with trio.move_on_after(self.context.settings.close_seconds, shield=True):
            if self._writer.cut:
                self._transport.abort()
            await self._transport.aclose()
