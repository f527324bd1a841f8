"""The attempts of one provider connection: pending table, keys, request frames, cancels and terminals.

Invariant: taking an entry out of the table is the single terminal transition; its key is wiped in the same step, and
only whoever took it out may end the attempt.
Invariant: no cancel for an id whose request never started to be written; a queued request is withdrawn instead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

import native
from protocol.codec import encode
from protocol.failure import coordinator_fault, sanitise
from protocol.messages.to_provider import Cancel
from server.link.strays import StrayMemo
from server.ports import ChannelError, RequestWithdrawn, WriterStopped

if TYPE_CHECKING:
    from native import Pump, SpliceTemplate, Spout
    from protocol.messages.from_provider import (
        InferenceAccepted,
        InferenceComplete,
        InferenceError,
        InferenceResponseChunk,
    )
    from protocol.sealing import WipeableKey
    from server.link.meter import LinkMeter
    from server.link.settings import LinkSettings
    from server.link.writer import Frame, TwoLaneWriter
    from server.ports import AttemptSink

_log = logging.getLogger("darkbloom.link")

_MAX_RELEASED = 4_096
_MIN_BOX_BYTES = 40
VIOLATION_RULES = {
    native.V_SENDER_KEY: "sender_key",
    native.V_BASE64: "base64",
    native.V_SHORT: "short",
    native.V_OPEN: "open",
}


class Attempt:
    """One entry of the pending table; `live` turns False when it leaves the table."""

    __slots__ = ("cancelled", "frame", "live", "opaque", "shared", "sink")

    def __init__(self, sink: AttemptSink, shared: WipeableKey, *, opaque: bool) -> None:
        """Hold the sink and the box key of a new attempt."""
        self.sink = sink
        self.shared = shared
        self.opaque = opaque
        self.live = True
        self.cancelled = False
        self.frame: Frame | None = None


class Attempts:
    """Attached attempts by request id; everything but `send_request` is synchronous."""

    __slots__ = (
        "_closed",
        "_key_text",
        "_meter",
        "_on_violation",
        "_pending",
        "_pump",
        "_released",
        "_strays",
        "_writer",
        "refused",
    )

    def __init__(
        self,
        pump: Pump,
        writer: TwoLaneWriter,
        settings: LinkSettings,
        meter: LinkMeter,
        on_violation: Callable[[], None],
    ) -> None:
        """Share the session's pump and writer; `on_violation` takes the trust away before the attempt ends."""
        self._pump = pump
        self._writer = writer
        self._meter = meter
        self._on_violation = on_violation
        self._strays = StrayMemo(settings)
        self._pending: dict[str, Attempt] = {}
        self._released: dict[str, None] = {}
        self._key_text = ""
        self._closed = False
        self.refused = False
        """True while the provider has no trust: no request frame may start."""

    def __len__(self) -> int:
        return len(self._pending)

    def set_peer_key(self, key_text: str) -> None:
        """Set the text that every chunk must carry as its sender key."""
        self._key_text = key_text
        self._pump.set_peer_key(key_text.encode())

    # --- the relay's side

    def attach(self, sink: AttemptSink, shared: WipeableKey, *, opaque: bool) -> None:
        """Enter an attempt; see `ProviderChannel.attach`."""
        if self._closed:
            shared.wipe()
            raise WriterStopped("The connection to the provider is closing; try another one.")
        attempt = Attempt(sink, shared, opaque=opaque)
        try:
            self._pump.attach(sink.request_id, shared.view(), attempt, opaque=opaque)
        except ValueError:
            shared.wipe()
            raise
        self._pending[sink.request_id] = attempt

    def detach(self, request_id: str) -> bool:
        """Take an attempt out without a terminal call; a request that is still queued is withdrawn."""
        attempt = self._take(request_id)
        if attempt is None:
            return False
        frame = attempt.frame
        if frame is None or self._writer.withdraw(frame, "The attempt ended before its request was sent."):
            return True
        if frame.started and not attempt.cancelled:
            self._released[request_id] = None
            if len(self._released) > _MAX_RELEASED:
                del self._released[next(iter(self._released))]
        return True

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        """Set the splice template of an attached attempt."""
        if request_id in self._pending:
            self._pump.set_template(request_id, template)

    def set_spout(self, request_id: str, spout: Spout | None) -> None:
        """Set the spout of an attached attempt."""
        if request_id in self._pending:
            self._pump.set_spout(request_id, spout)

    async def send_request(self, request_id: str, frame: bytes) -> None:
        """Write the request frame of an attached attempt; see `ProviderChannel.send_request`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise WriterStopped("The connection to the provider is closing; try another one.")
        attempt = self._pending.get(request_id)
        if attempt is None or attempt.frame is not None:
            raise RequestWithdrawn("The attempt is not attached, or was sent already; attach a new one.")
        if self.refused:
            raise RequestWithdrawn("The provider lost its trust; try another one.")
        attempt.frame = queued = self._writer.submit_data(native.encode_frame(native.OP_TEXT, frame))
        await self._writer.finished(queued)

    def cancel(self, request_id: str) -> None:
        """Stop a request that was sent, or take back one that was not; see `ProviderChannel.cancel`."""
        attempt = self._pending.get(request_id)
        if attempt is None:
            if request_id in self._released:
                del self._released[request_id]
                self._send_cancel(request_id)
            return
        frame = attempt.frame
        if frame is None or attempt.cancelled or self._writer.withdraw(frame, "The request was cancelled."):
            return
        if frame.started:
            attempt.cancelled = True
            self._send_cancel(request_id)

    # --- the provider's side, called by the reader in frame order

    def find(self, request_id: str) -> Attempt | None:
        """Return the pending attempt of this id."""
        return self._pending.get(request_id)

    def accepted(self, message: InferenceAccepted) -> None:
        """Pass on that the provider took the request."""
        attempt = self._pending.get(message.request_id)
        if attempt is None:
            self._meter.count("unknown_request")
        else:
            attempt.sink.on_accepted()

    def completed(self, message: InferenceComplete) -> None:
        """End an attempt with success."""
        attempt = self._ended_by_provider(message.request_id)
        if attempt is not None:
            self._tell(attempt, lambda sink: sink.on_complete(message))

    def failed(self, message: InferenceError) -> None:
        """End an attempt with the provider's failure, in closed words."""
        attempt = self._ended_by_provider(message.request_id)
        if attempt is not None:
            self._tell(attempt, lambda sink: sink.on_error(sanitise(message)))

    def chunk(self, message: InferenceResponseChunk, now: float) -> None:
        """Take a chunk that the pump did not recognise: same checks in the same order, same results."""
        attempt = self._pending.get(message.request_id)
        if attempt is None:
            self._stray(message.request_id, now)
            return
        sealed = message.encrypted_data
        if sealed is None:
            self.violated(attempt, "plaintext")
        elif message.data:
            self.violated(attempt, "mixed")
        elif not self._key_text or sealed.ephemeral_public_key != self._key_text:
            self.violated(attempt, "sender_key")
        else:
            self._open(attempt, sealed.ciphertext)

    def violated(self, attempt: Attempt, rule: str) -> None:
        """End an attempt whose chunk broke the encryption rules: trust goes first, then the attempt."""
        if not self._drop(attempt):
            return
        self._meter.count("violation")
        _log.warning("chunk_violation", extra={"rule": rule})
        self._on_violation()
        self._stop_generating(attempt)
        self._tell(attempt, lambda sink: sink.on_violation(rule))

    def bad_text(self, attempt: Attempt) -> None:
        """End an attempt whose chunk opened to something that is not UTF-8; trust is not touched."""
        if not self._drop(attempt):
            return
        self._meter.count("bad_text")
        self._stop_generating(attempt)
        self._tell(attempt, lambda sink: sink.on_bad_text())

    def close(self) -> list[Attempt]:
        """Wipe all keys and empty the table; the caller ends each attempt that is returned."""
        self._closed = True
        attempts = list(self._pending.values())
        for request_id in list(self._pending):
            self._take(request_id)
        self._released.clear()
        return attempts

    # --- inside

    def _open(self, attempt: Attempt, text: str) -> None:
        # A backslash that is left after the JSON was decoded is no escape any more: it is foreign to the alphabet.
        ciphertext = text.encode() if text.isascii() and "\\" not in text else b"-"
        try:
            box = native.decode_base64(ciphertext)
        except ValueError:
            self.violated(attempt, "base64")
            return
        if len(box) < _MIN_BOX_BYTES:
            self.violated(attempt, "short")
        elif attempt.opaque:
            attempt.sink.on_opaque(ciphertext)
        else:
            try:
                plaintext = native.open_chunk(ciphertext, 0, len(ciphertext), attempt.shared.view())
            except native.DecryptError:
                self.violated(attempt, "open")
                return
            try:
                plaintext.decode()
            except UnicodeDecodeError:
                self.bad_text(attempt)
                return
            attempt.sink.on_opened(plaintext)

    def _stray(self, request_id: str, now: float) -> None:
        self._meter.count("stray_chunk")
        if self._strays.should_cancel(request_id, now):
            self._meter.count("stray_cancel")
            self._submit_cancel(request_id)

    def _stop_generating(self, attempt: Attempt) -> None:
        if not attempt.cancelled:
            self._send_cancel(attempt.sink.request_id)

    def _send_cancel(self, request_id: str) -> None:
        self._strays.note(request_id, trio.current_time())
        self._meter.count("cancel_sent")
        self._submit_cancel(request_id)

    def _submit_cancel(self, request_id: str) -> None:
        try:
            self._writer.submit_control(native.encode_frame(native.OP_TEXT, encode(Cancel(request_id=request_id))))
        except ChannelError:
            self._meter.count("cancel_dropped")

    def _ended_by_provider(self, request_id: str) -> Attempt | None:
        attempt = self._take(request_id)
        if attempt is None:
            self._released.pop(request_id, None)
            self._meter.count("unknown_request")
        cancelled_at = self._strays.answered(request_id)
        if cancelled_at is not None:
            self._meter.cancel_answered(trio.current_time() - cancelled_at)
        return attempt

    def _tell(self, attempt: Attempt, terminal: Callable[[AttemptSink], None]) -> None:
        """Make the terminal call. The attempt left the table: nobody else would end it if the call failed."""
        try:
            terminal(attempt.sink)
        except Exception:
            self._meter.count("sink_error")
            _log.exception("an attempt failed while it ended")
            attempt.sink.on_gone(coordinator_fault())

    def _drop(self, attempt: Attempt) -> bool:
        return attempt.live and self._take(attempt.sink.request_id) is not None

    def _take(self, request_id: str) -> Attempt | None:
        attempt = self._pending.pop(request_id, None)
        if attempt is not None:
            attempt.live = False
            self._pump.detach(request_id)
            attempt.shared.wipe()
        return attempt
