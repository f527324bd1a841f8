"""WebSocket frames (RFC 6455): the encoder, and the header parser with every rule that a header alone can break."""

from __future__ import annotations

from typing import NamedTuple

from native.shapes import (
    CLOSE_PROTOCOL_ERROR,
    OP_BINARY,
    OP_CLOSE,
    OP_CONTINUATION,
    OP_PONG,
    OP_TEXT,
    BytesLike,
)

MAX_CONTROL_PAYLOAD = 125
_MASK_BYTES = 4


class FrameError(Exception):
    """The peer broke a rule; carries the close code and a reason that names the rule."""

    def __init__(self, code: int, reason: bytes) -> None:
        super().__init__(reason.decode())
        self.code = code
        self.reason = reason


class Header(NamedTuple):
    """A parsed frame header; `size` is its own length and `length` that of the payload, in bytes."""

    fin: bool
    opcode: int
    mask: bytes
    size: int
    length: int


def parse_header(data: bytearray, *, masked: bool) -> Header | None:
    """The header that `data` begins with, or None if it is not complete yet. Raises FrameError (1002)."""
    if len(data) < 2:
        return None
    first, second = data[0], data[1]
    short = second & 0x7F
    length_bytes = {126: 2, 127: 8}.get(short, 0)
    has_mask = bool(second & 0x80)
    size = 2 + length_bytes + (_MASK_BYTES if has_mask else 0)
    if len(data) < size:
        return None
    length = int.from_bytes(data[2 : 2 + length_bytes]) if length_bytes else short
    header = Header(bool(first & 0x80), first & 0x0F, bytes(data[2 + length_bytes : size]), size, length)
    _check(header, first, length_bytes, has_mask=has_mask, masked=masked)
    return header


def _check(header: Header, first: int, length_bytes: int, *, has_mask: bool, masked: bool) -> None:
    if first & 0x70:
        raise FrameError(CLOSE_PROTOCOL_ERROR, b"reserved bits are set")
    if OP_BINARY < header.opcode < OP_CLOSE or header.opcode > OP_PONG:
        raise FrameError(CLOSE_PROTOCOL_ERROR, b"reserved opcode")
    if header.opcode >= OP_CLOSE:
        if not header.fin:
            raise FrameError(CLOSE_PROTOCOL_ERROR, b"fragmented control frame")
        if header.length > MAX_CONTROL_PAYLOAD:
            raise FrameError(CLOSE_PROTOCOL_ERROR, b"control frame is too long")
    if has_mask != masked:
        raise FrameError(CLOSE_PROTOCOL_ERROR, b"frame is not masked" if masked else b"frame is masked")
    least = {0: 0, 2: 126, 8: 0x10000}[length_bytes]
    if header.length < least or header.length >> 63:
        raise FrameError(CLOSE_PROTOCOL_ERROR, b"length is not in its only valid form")


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Payload with the four mask bytes repeated over it; masking and unmasking are the same."""
    if not mask or not payload:
        return payload
    count = len(payload)
    pattern = mask * (count // _MASK_BYTES + 1)
    return (int.from_bytes(payload) ^ int.from_bytes(pattern[:count])).to_bytes(count)


def encode_head(opcode: int, length: int, *, masked: bool, fin: bool) -> bytes:
    """Header of a frame without the mask bytes; raises ValueError for a frame that no peer may send."""
    if opcode not in (OP_CONTINUATION, OP_TEXT, OP_BINARY) and not OP_CLOSE <= opcode <= OP_PONG:
        raise ValueError(f"Opcode {opcode} is reserved; use 0, 1, 2, 8, 9 or 10.")
    if opcode >= OP_CLOSE and (length > MAX_CONTROL_PAYLOAD or not fin):
        raise ValueError(f"A control frame is unfragmented and has at most {MAX_CONTROL_PAYLOAD} bytes, not {length}.")
    first = opcode | (0x80 if fin else 0)
    flag = 0x80 if masked else 0
    if length < 126:
        return bytes((first, flag | length))
    if length < 0x10000:
        return bytes((first, flag | 126)) + length.to_bytes(2)
    return bytes((first, flag | 127)) + length.to_bytes(8)


def encode_frame(opcode: int, payload: BytesLike, *, mask: bytes | None = None, fin: bool = True) -> bytes:
    """One WebSocket frame. `mask` is None (server side) or four bytes; ValueError for what no peer may send."""
    data = bytes(payload)
    head = encode_head(opcode, len(data), masked=mask is not None, fin=fin)
    if mask is None:
        return head + data
    check_mask(mask)
    return head + mask + apply_mask(data, mask)


def check_mask(mask: bytes) -> None:
    """Raise ValueError unless the mask has four bytes."""
    if len(mask) != _MASK_BYTES:
        raise ValueError(f"A mask has {_MASK_BYTES} bytes; this one has {len(mask)}.")
