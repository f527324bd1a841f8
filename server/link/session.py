"""One provider connection: its parts, its states, and what the relay, trust and the housekeeper ask of it.

States: OPEN (nothing registered) → REGISTERED → CLOSING (close frame sent, attempts ended) → GONE.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import trio

import native
from protocol.codec import encode
from protocol.failure import coordinator_fault, provider_disconnected, provider_restart
from protocol.messages.to_provider import LoadModel
from server.link import ending, timers
from server.link.attempts import Attempts
from server.link.liveness import Liveness
from server.link.reader import Reader
from server.link.registration import too_many
from server.link.state import SessionState
from server.link.writer import TwoLaneWriter
from server.ports import ChannelError

if TYPE_CHECKING:
    from native import Event, SpliceTemplate, Spout
    from protocol.failure import AttemptFailure
    from protocol.messages.from_provider import Heartbeat
    from protocol.messages.to_provider import AttestationChallenge
    from protocol.messages.wire import Message
    from protocol.sealing import WipeableKey
    from server.link.context import LinkContext
    from server.link.idle import Dispatching
    from server.link.meter import LinkEvent
    from server.link.transport import Transport
    from server.ports import AttemptSink, TrustState
    from server.trust import SessionTrust

_NEVER = float("inf")
REPLACED = "replaced by new connection from same device"


class ProviderSession:
    """A provider connection; to the relay it is a `ProviderChannel`, to the housekeeper a client with timers."""

    __slots__ = (
        "attempts",
        "client_ip",
        "context",
        "doomed",
        "due_at",
        "ended",
        "liveness",
        "memory_pressure",
        "public_key",
        "pump",
        "quiet",
        "register_by",
        "registration_nonce",
        "scope",
        "session_id",
        "state",
        "transport",
        "trust",
        "writer",
    )

    attempts: Attempts
    trust: SessionTrust
    writer: TwoLaneWriter
    scope: trio.CancelScope

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
        self.transport = transport
        self.client_ip = client_ip
        self.registration_nonce = registration_nonce
        self.register_by = now + context.settings.register_seconds
        self.pump = native.Pump(max_message_bytes=context.settings.max_message_bytes)
        self.doomed = False
        """A chunk broke the encryption rules: the connection closes when its last attempt has ended."""
        self.ended = False
        self.quiet = False
        """A heartbeat came while no attempt was attached, and none was attached since: the reader may park."""

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
                self.scope = nursery.cancel_scope
                self.writer = TwoLaneWriter(
                    self.transport, nursery, context.settings.writer, context.meter, self.scope.cancel
                )
                self.attempts = Attempts(
                    self.pump, self.writer, context.settings, context.meter, self._on_chunk_violation
                )
                self.plan()
                try:
                    await Reader(self).run(answer, leftover)
                except Exception:
                    ending.end(self, coordinator_fault(), "internal_error")
                    raise
                finally:
                    ending.end(self, provider_disconnected(), "disconnect")
        finally:
            await ending.release(self)

    def registered(self, trust: SessionTrust, public_key: bytes, key_text: str, now: float) -> None:
        """Enter the state REGISTERED; `key_text` is the registered text of a usable key, else empty."""
        self.state = SessionState.REGISTERED
        self.context.sockets.leave(self.client_ip)
        self.trust = trust
        self.public_key = public_key
        if key_text:
            self.attempts.set_peer_key(key_text)
        self.liveness.registered(now)

    def heartbeat(self, message: Heartbeat, now: float) -> None:
        """Note that the provider lives, and what it reports."""
        self.liveness.heartbeat_at = now
        self.memory_pressure = message.system_metrics.memory_pressure
        self.context.registry.heartbeat(self.session_id, message, now)
        self.quiet = not self.attempts and self.context.idle.can_park(self.transport)

    async def park(self, reader: Dispatching) -> list[Event]:
        """Leave reading to the task that reads all quiet connections, until this one needs its own again.

        Whatever ended the rest, for example a large message, is read without pauses: only a heartbeat parks again.
        """
        left = await self.context.idle.park(self.transport, self.pump, reader)
        self.quiet = False
        return left

    # --- the relay's side: ProviderChannel

    def attach(self, sink: AttemptSink, shared: WipeableKey, *, opaque: bool = False) -> None:
        """Enter an attempt in the pending table."""
        self.attempts.attach(sink, shared, opaque=opaque)
        if self.quiet:
            self.quiet = False
            self.context.idle.wake(self.transport)

    def detach(self, request_id: str) -> bool:
        """Take an attempt out of the pending table without a terminal call."""
        pending = self.attempts.detach(request_id)
        ending.close_if_doomed(self)
        return pending

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        """Let the pump splice the common chunk of an attached attempt."""
        self.attempts.set_template(request_id, template)

    def set_spout(self, request_id: str, spout: Spout | None) -> None:
        """Let the pump write the runs of an attached attempt through a spout."""
        self.attempts.set_spout(request_id, spout)

    async def send_request(self, request_id: str, frame: bytes) -> None:
        """Write a request frame and return when the kernel has all of it."""
        await self.attempts.send_request(request_id, frame)

    def cancel(self, request_id: str) -> None:
        """Tell the provider to stop an attempt."""
        self.attempts.cancel(request_id)

    def challenge_soon(self) -> None:
        """Ask for a proof of trust as soon as no other answer is awaited."""
        if self.state is SessionState.REGISTERED:
            self.trust.hasten(trio.current_time())
            self.plan()

    def token_revoked(self) -> None:
        """Tell the provider that the token which linked it counts no longer."""
        if self.state is SessionState.REGISTERED:
            self.trust.token_refused()

    def load_model(self, model: str) -> None:
        """Ask for a model to be loaded."""
        self.send(LoadModel(model_id=model))

    def abort(self, code: int, reason: str) -> None:
        """Close the connection."""
        self.close(code, reason)

    def send(self, message: Message) -> None:
        """Send a message on the control lane and do not wait; a full lane drops and counts it."""
        try:
            self.writer.submit_control(native.encode_frame(native.OP_TEXT, encode(message)))
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
            self.writer.submit_control(native.encode_frame(native.OP_TEXT, encode(message)), written)
        except ChannelError:
            self._challenge_unwritten(message)

    def withdraw_requests(self) -> None:
        """Take back every request that has not started to be written."""
        self.writer.withdraw_data("The provider lost its trust; try another one.")

    def proved(self, device_id: str) -> bool:
        """Count the registration of a device that proved itself; False, and the end, when it registers too often."""
        if self.context.rate.allow(device_id, trio.current_time()):
            return True
        too_many(self)
        return False

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
        self.doomed = True
        self.trust.untrust("chunk_violation")

    # --- timers and the end

    def plan(self) -> None:
        """Have the housekeeper call `tick` when something is due."""
        timers.plan(self)

    def tick(self, now: float) -> None:
        """Do what is due: registration deadline, ping, staleness sweep, challenge."""
        timers.tick(self, now)

    def fail(self, error: Exception) -> None:
        """End, because a timer raised."""
        del error
        self.close(1011, "internal error", coordinator_fault())

    def close(self, code: int, reason: str, failure: AttemptFailure | None = None) -> None:
        """Close in order: attempts end with `failure`, then a close frame goes out; harmless when repeated."""
        ending.close(self, code, reason, failure)
