"""The frame pump of one provider socket: bytes in, events out, response chunks opened on the way.

Invariant: a key lives in its attempt from `attach` until `detach`, a violation or `close`, and nowhere else.
Invariant: no run is open between two calls of `feed`.
"""

from __future__ import annotations

from native.pure.box import open_box
from native.pure.frames import FrameError, Header, apply_mask, parse_header
from native.pure.scan_chunk import scan_chunk
from native.pure.splice import is_utf8, splice
from native.pure.spout import Spout
from native.pure.strict_base64 import decode_base64, undo_slash_escapes
from native.shapes import (
    BOX_OVERHEAD_BYTES,
    CLOSE_INVALID_TEXT,
    CLOSE_NO_STATUS,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_BIG,
    EV_BAD_TEXT,
    EV_CLOSE,
    EV_FATAL,
    EV_MESSAGE,
    EV_OPAQUE,
    EV_OPENED,
    EV_PING,
    EV_PONG,
    EV_RUN,
    EV_STUCK,
    EV_VIOLATION,
    EVENT_LIMIT,
    KEY_BYTES,
    OP_CLOSE,
    OP_CONTINUATION,
    OP_PING,
    OP_TEXT,
    V_BASE64,
    V_OPEN,
    V_SENDER_KEY,
    V_SHORT,
    BytesLike,
    ChunkSpans,
    DecryptError,
    Event,
    SpliceTemplate,
    check_attachment,
    check_message_limit,
    check_peer_key,
    check_template,
)


class _Attempt:
    """What the pump knows about one attached request id."""

    __slots__ = ("deltas", "key", "opaque", "out", "owner", "spent", "spout", "template", "text_bytes", "told")

    def __init__(self, key: bytes, owner: object, *, opaque: bool) -> None:
        self.key = bytearray(key)
        self.owner = owner
        self.opaque = opaque
        self.spent = False
        self.template: SpliceTemplate | None = None
        self.spout: Spout | None = None
        self.told = 0
        """The feed in which an event of this attempt last went up."""
        self.out = bytearray()
        self.deltas = 0
        self.text_bytes = 0

    def wipe(self) -> None:
        """Overwrite the key and the output buffer."""
        self.key[:] = bytes(KEY_BYTES)
        self.out[:] = bytes(len(self.out))
        self.template = None


class Pump:
    """Sans-IO WebSocket reader of one provider socket; see the package's docstring for events and rules."""

    __slots__ = (
        "_attempts",
        "_closed",
        "_ended",
        "_events",
        "_feeds",
        "_in_batch",
        "_input",
        "_masked",
        "_max",
        "_message",
        "_message_told",
        "_now",
        "_opcode",
        "_open_runs",
        "_peer_key",
    )

    def __init__(self, *, max_message_bytes: int, masked_input: bool = True) -> None:
        check_message_limit(max_message_bytes)
        self._max = max_message_bytes
        self._masked = masked_input
        self._peer_key = b""
        self._attempts: dict[bytes, _Attempt] = {}
        self._input = bytearray()
        self._message = bytearray()
        self._opcode = OP_CONTINUATION
        self._open_runs: dict[int, _Attempt] = {}
        self._events: list[Event] = []
        self._in_batch = 0
        self._feeds = 0
        self._now = 0.0
        self._message_told = False
        self._ended = False
        self._closed = False

    def set_peer_key(self, key_text: bytes) -> None:
        """Set the text that every chunk must carry as its sender key; while it is empty every chunk is a violation."""
        check_peer_key(key_text)
        self._peer_key = bytes(key_text)

    def attach(self, request_id: str, shared_key: BytesLike, owner: object, *, opaque: bool = False) -> None:
        """Open the chunks of `request_id` from now on. The key (32 bytes) is copied.

        Raises ValueError if the id is attached already, has more than 128 bytes, or the pump is closed.
        """
        if self._closed:
            raise ValueError("The pump is closed; attach to the pump of a live connection.")
        name = request_id.encode()
        check_attachment(name, shared_key, attached=len(self._attempts))
        if name in self._attempts:
            raise ValueError(f"The id {request_id!r} is attached already; every attempt needs an id of its own.")
        self._attempts[name] = _Attempt(bytes(shared_key), owner, opaque=opaque)

    def detach(self, request_id: str) -> bool:
        """Forget the id, wiping its key and buffers. False if it was not attached."""
        attempt = self._attempts.pop(request_id.encode(), None)
        if attempt is None:
            return False
        attempt.wipe()
        return True

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        """Set or clear the splice template of an attempt from the next feed on; an unknown id is ignored."""
        if template is not None:
            check_template(template)
        attempt = self._attempts.get(request_id.encode())
        if attempt is not None:
            attempt.template = template

    def set_spout(self, request_id: str, spout: Spout | None) -> None:
        """Let the runs of an attempt leave through a spout from the next feed on; an unknown id is ignored."""
        attempt = self._attempts.get(request_id.encode())
        if attempt is not None:
            attempt.spout = spout

    def feed(self, data: BytesLike, now: float = 0.0) -> list[Event]:
        """Take the next bytes of the socket and return the events that they complete, in frame order.

        The caller has handled all earlier events. `now` is what a spout notes as the time of its runs.

        After EV_CLOSE, EV_FATAL or `close` all further bytes are ignored.
        """
        if self._ended:
            return []
        self._input += data
        self._events = []
        self._in_batch = 0
        self._feeds += 1
        self._message_told = False
        self._now = now
        try:
            while self._input and not self._ended:
                if self._in_batch + len(self._open_runs) + 2 > EVENT_LIMIT:
                    self._flush_all()
                    self._in_batch = 0
                header = parse_header(self._input, masked=self._masked)
                if header is None:
                    break
                self._check_place(header)
                end = header.size + header.length
                if len(self._input) < end:
                    break
                payload = apply_mask(bytes(self._input[header.size : end]), header.mask)
                del self._input[:end]
                self._take_frame(header, payload)
        except FrameError as error:
            self._flush_all()
            self._emit(EV_FATAL, None, error.reason, error.code)
            self._end()
        self._flush_all()
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Wipe every key and buffer. The pump ignores all input from now on."""
        for attempt in self._attempts.values():
            attempt.wipe()
        self._attempts.clear()
        self._peer_key = b""
        self._closed = True
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._input = bytearray()
        self._message = bytearray()

    def _check_place(self, header: Header) -> None:
        """Rules that need the frames before: continuation order and the size of the whole message."""
        if header.opcode >= OP_CLOSE:
            return
        if header.opcode == OP_CONTINUATION and self._opcode == OP_CONTINUATION:
            raise FrameError(CLOSE_PROTOCOL_ERROR, b"continuation without a message")
        if header.opcode != OP_CONTINUATION and self._opcode != OP_CONTINUATION:
            raise FrameError(CLOSE_PROTOCOL_ERROR, b"message inside a message")
        if len(self._message) + header.length > self._max:
            raise FrameError(CLOSE_TOO_BIG, b"message is too big")

    def _take_frame(self, header: Header, payload: bytes) -> None:
        if header.opcode >= OP_CLOSE:
            self._take_control(header.opcode, payload)
            return
        if header.opcode != OP_CONTINUATION:
            self._opcode = header.opcode
        self._message += payload
        if header.fin:
            opcode, message = self._opcode, bytes(self._message)
            self._opcode = OP_CONTINUATION
            self._message.clear()
            self._take_message(opcode, message)

    def _take_control(self, opcode: int, payload: bytes) -> None:
        if opcode != OP_CLOSE:
            self._emit(EV_PING if opcode == OP_PING else EV_PONG, None, payload)
            return
        code, reason = read_close(payload)
        self._flush_all()
        self._emit(EV_CLOSE, None, reason, code)
        self._end()

    def _take_message(self, opcode: int, message: bytes) -> None:
        spans = scan_chunk(message)
        if spans is not None:
            attempt = self._attempts.get(message[spans.id_start : spans.id_end])
            if attempt is not None and not attempt.spent:
                self._take_chunk(attempt, message, spans)
                return
        if opcode == OP_TEXT and not is_utf8(message):
            raise FrameError(CLOSE_INVALID_TEXT, b"text is not UTF-8")
        self._flush_all()
        self._message_told = True
        self._emit(EV_MESSAGE, None, message, opcode)

    def _take_chunk(self, attempt: _Attempt, message: bytes, spans: ChunkSpans) -> None:
        key_text = undo_slash_escapes(message[spans.key_start : spans.key_end])
        if not self._peer_key or key_text != self._peer_key:
            self._spend(attempt, EV_VIOLATION, V_SENDER_KEY)
            return
        text = undo_slash_escapes(message[spans.ct_start : spans.ct_end])
        try:
            box = decode_base64(text)
        except ValueError:
            self._spend(attempt, EV_VIOLATION, V_BASE64)
            return
        if len(box) < BOX_OVERHEAD_BYTES:
            self._spend(attempt, EV_VIOLATION, V_SHORT)
        elif attempt.opaque:
            self._emit_of(attempt, EV_OPAQUE, text)
        else:
            self._open(attempt, box)

    def _open(self, attempt: _Attempt, box: bytes) -> None:
        try:
            plaintext = open_box(box, bytes(attempt.key))
        except DecryptError:
            self._spend(attempt, EV_VIOLATION, V_OPEN)
            return
        spliced = None if attempt.template is None else splice(plaintext, attempt.template)
        if spliced is not None:
            attempt.out += spliced.ready
            attempt.deltas += 1
            attempt.text_bytes += spliced.text_bytes
            self._open_runs.setdefault(id(attempt), attempt)
        elif is_utf8(plaintext):
            self._emit_of(attempt, EV_OPENED, plaintext)
        else:
            self._spend(attempt, EV_BAD_TEXT, 0)

    def _spend(self, attempt: _Attempt, kind: int, rule: int) -> None:
        """Report the end of the attempt and wipe its key: later chunks of the id go up as plain messages."""
        self._emit_of(attempt, kind, b"", rule)
        attempt.spent = True
        attempt.wipe()

    def _emit_of(self, attempt: _Attempt, kind: int, payload: bytes, a: int = 0) -> None:
        self._flush(attempt)
        attempt.told = self._feeds
        self._emit(kind, attempt.owner, payload, a)

    def _emit(self, kind: int, owner: object, payload: bytes, a: int = 0, b: int = 0) -> None:
        self._events.append((kind, owner, payload, a, b))
        self._in_batch += 1

    def _flush(self, attempt: _Attempt) -> None:
        if self._open_runs.pop(id(attempt), None) is None:
            return
        self._deliver(attempt, bytes(attempt.out))
        attempt.out.clear()
        attempt.deltas = attempt.text_bytes = 0

    def _deliver(self, attempt: _Attempt, run: bytes) -> None:
        """Hand a run to the attempt's spout, or up; up too if something that the caller has not seen comes first."""
        spout, deltas, text_bytes = attempt.spout, attempt.deltas, attempt.text_bytes
        free = not self._message_told and attempt.told != self._feeds
        if free and spout is not None and spout.takes(len(run)):
            if not spout.write(run, deltas, text_bytes, self._now):
                attempt.told = self._feeds
                self._emit(EV_STUCK, attempt.owner, b"")
            return
        attempt.told = self._feeds
        self._emit(EV_RUN, attempt.owner, run, deltas, text_bytes)

    def _flush_all(self) -> None:
        for attempt in list(self._open_runs.values()):
            self._flush(attempt)


def read_close(payload: bytes) -> tuple[int, bytes]:
    """Code and reason of a close frame; raises FrameError for what RFC 6455, 7.4, does not allow."""
    if not payload:
        return CLOSE_NO_STATUS, b""
    if len(payload) == 1:
        raise FrameError(CLOSE_PROTOCOL_ERROR, b"close payload of one byte")
    code, reason = int.from_bytes(payload[:2]), payload[2:]
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise FrameError(CLOSE_PROTOCOL_ERROR, b"close code may not be sent")
    if not is_utf8(reason):
        raise FrameError(CLOSE_INVALID_TEXT, b"close reason is not UTF-8")
    return code, reason
