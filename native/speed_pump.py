"""The frame pump of one provider socket, in C; see `native` for its events and rules.

Invariant: `_owners` holds exactly the attached attempts, by the ticket that the C side knows them by, and `_spouts`
keeps every spout alive that the C side may touch.
"""

from __future__ import annotations

from native import _speed
from native.shapes import (
    BytesLike,
    Event,
    SpliceTemplate,
    check_attachment,
    check_message_limit,
    check_peer_key,
    check_template,
)
from native.speed_spout import Spout

_ffi = _speed.ffi
_lib = _speed.lib
_feed = _lib.db_pump_feed
_unpack = _ffi.unpack
_buffer = _ffi.buffer

_MORE = _lib.DB_MORE
_EVENT_WORDS = 6


def as_pointer(data: BytesLike) -> object:
    """Something that cffi takes for `const uint8_t *`: bytes as they are, else a pointer to the memory."""
    return data if type(data) is bytes else _ffi.from_buffer("uint8_t[]", data)


class Pump:
    """Sans-IO WebSocket reader of one provider socket; see the package's docstring for events and rules."""

    __slots__ = ("_closed", "_next_ticket", "_owners", "_pump", "_spouts", "_view")

    def __init__(self, *, max_message_bytes: int, masked_input: bool = True) -> None:
        check_message_limit(max_message_bytes)
        pump = _lib.db_pump_new(max_message_bytes, masked_input)
        if pump == _ffi.NULL:
            raise MemoryError
        self._pump = _ffi.gc(pump, _lib.db_pump_free)
        self._view = _lib.db_pump_view(self._pump)
        self._owners: dict[int, object] = {-1: None}
        self._spouts: dict[int, Spout] = {}
        self._next_ticket = 0
        self._closed = False

    def set_peer_key(self, key_text: bytes) -> None:
        """Set the text that every chunk must carry as its sender key; while it is empty every chunk is a violation."""
        check_peer_key(key_text)
        _lib.db_pump_set_peer_key(self._pump, key_text, len(key_text))

    def attach(self, request_id: str, shared_key: BytesLike, owner: object, *, opaque: bool = False) -> None:
        """Open the chunks of `request_id` from now on. The key (32 bytes) is copied.

        Raises ValueError if the id is attached already, has more than 128 bytes, or the pump is closed.
        """
        if self._closed:
            raise ValueError("The pump is closed; attach to the pump of a live connection.")
        name = request_id.encode()
        check_attachment(name, shared_key, attached=len(self._owners) - 1)
        ticket = self._next_ticket
        result = _lib.db_pump_attach(self._pump, name, len(name), as_pointer(shared_key), ticket, opaque)
        if result > 0:
            raise ValueError(f"The id {request_id!r} is attached already; every attempt needs an id of its own.")
        if result < 0:
            raise MemoryError
        self._next_ticket = ticket + 1
        self._owners[ticket] = owner

    def detach(self, request_id: str) -> bool:
        """Forget the id, wiping its key and buffers. False if it was not attached."""
        name = request_id.encode()
        ticket = _lib.db_pump_detach(self._pump, name, len(name))
        if ticket < 0:
            return False
        del self._owners[ticket]
        self._spouts.pop(ticket, None)
        if len(self._owners) == 1:
            _lib.db_pump_trim(self._pump)
        return True

    def set_template(self, request_id: str, template: SpliceTemplate | None) -> None:
        """Set or clear the splice template of an attempt from the next feed on; an unknown id is ignored."""
        name = request_id.encode()
        if template is None:
            _lib.db_pump_set_template(self._pump, name, len(name), _ffi.NULL, 0, 0, 0, 0)
            return
        check_template(template)
        sizes = [len(part) for part in template]
        if _lib.db_pump_set_template(self._pump, name, len(name), b"".join(template), *sizes) != 0:
            raise MemoryError

    def set_spout(self, request_id: str, spout: Spout | None) -> None:
        """Let the runs of an attempt leave through a spout from the next feed on; an unknown id is ignored."""
        name = request_id.encode()
        struct = _ffi.NULL if spout is None else spout.struct
        ticket = _lib.db_pump_set_spout(self._pump, name, len(name), struct)
        if spout is None:
            self._spouts.pop(ticket, None)
        elif ticket >= 0:
            self._spouts[ticket] = spout

    def feed(self, data: BytesLike, now: float = 0.0) -> list[Event]:
        """Take the next bytes of the socket and return the events that they complete, in frame order.

        The caller has handled all earlier events. `now` is what a spout notes as the time of its runs.

        After EV_CLOSE, EV_FATAL or `close` all further bytes are ignored. Raises MemoryError, and is dead, without
        memory.
        """
        source = as_pointer(data)
        count = _feed(self._pump, source, len(data), 0, now)
        if count == 0:
            return []
        if 0 < count < _MORE:
            return self._take(count)
        events: list[Event] = []
        while count >= _MORE:
            events += self._take(count - _MORE)
            count = _feed(self._pump, source, len(data), self._view.consumed, now)
        if count < 0:
            raise MemoryError
        events += self._take(count)
        return events

    def _take(self, count: int) -> list[Event]:
        """The events of the last call, copied out of the pump's memory."""
        if count == 0:
            return []
        view = self._view
        words = _unpack(view.words, count * _EVENT_WORDS)
        owners = self._owners
        events: list[Event]
        if count == 1:
            kind, ticket, _, end, a, b = words
            events = [(kind, owners[ticket], _unpack(view.payload, end) if end else b"", a, b)]
        else:
            payloads = _buffer(view.payload, words[-3]) if words[-3] else b""
            word = iter(words)
            events = [
                (kind, owners[ticket], payloads[start:end], a, b)
                for kind, ticket, start, end, a, b in zip(word, word, word, word, word, word, strict=True)
            ]
        if len(owners) == 1:
            _lib.db_pump_trim(self._pump)
        return events

    def close(self) -> None:
        """Wipe every key and buffer. The pump ignores all input from now on."""
        _lib.db_pump_close(self._pump)
        self._owners = {-1: None}
        self._spouts.clear()
        self._closed = True

    def memory_bytes(self) -> int:
        """Heap bytes that the C side holds now."""
        held: int = _lib.db_pump_memory(self._pump)
        return held
