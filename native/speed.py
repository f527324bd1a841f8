"""The C implementation: thin calls into the extension `native._speed`, with every length checked before the border."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from native import _speed
from native.pure.frames import check_mask, encode_head
from native.shapes import (
    BOX_OVERHEAD_BYTES,
    NONCE_BYTES,
    BytesLike,
    ChunkSpans,
    DecryptError,
    check_key,
    check_nonce,
)
from native.sodium import link
from native.speed_pump import Pump, as_pointer
from native.speed_spout import Spout

if TYPE_CHECKING:
    from _cffi_backend import _CDataBase as CData

__all__ = [
    "Pump",
    "Spout",
    "decode_base64",
    "encode_frame",
    "open_chunk",
    "raw_span",
    "scan_chunk",
    "scan_type",
    "seal",
]

_ffi = _speed.ffi
_lib = _speed.lib
_new_bytes = _ffi.new_allocator(should_clear_after_alloc=False)
_buffer = _ffi.buffer

_OFFSET_BITS = 0xFFFF_FFFF

link(_speed)


def scan_type(buf: BytesLike) -> tuple[int, int] | None:
    """Span of the value of the top-level key `type`, quotes excluded; None if only a full decode can tell."""
    span = _lib.db_scan_type(as_pointer(buf), len(buf))
    return None if span < 0 else (span >> 32, span & _OFFSET_BITS)


def raw_span(buf: BytesLike, key: bytes) -> tuple[int, int] | None:
    """Span of the raw text of a top-level value, brackets or quotes included; None if there is any doubt."""
    span = _lib.db_raw_span(as_pointer(buf), len(buf), key, len(key))
    return None if span < 0 else (span >> 32, span & _OFFSET_BITS)


def scan_chunk(buf: BytesLike) -> ChunkSpans | None:
    """Spans of request id, sender key and ciphertext, or None if the frame needs the full decode."""
    c = _ffi.new("db_chunk *")
    if not _lib.db_scan_chunk(as_pointer(buf), len(buf), c):
        return None
    return ChunkSpans(c.id_start, c.id_end, c.key_start, c.key_end, c.ct_start, c.ct_end, bool(c.has_escapes))


def decode_base64(buf: BytesLike) -> bytes:
    """Decode strict base64 (`\\/` stands for `/`); ValueError for anything else."""
    out = _new_bytes("uint8_t[]", len(buf))
    count = _lib.db_base64_decode(as_pointer(buf), len(buf), out)
    if count < 0:
        raise ValueError("The text is not strict base64.")
    return _taken(out, count)


def open_chunk(buf: BytesLike, ct_start: int, ct_end: int, shared_key: BytesLike) -> bytes:
    """Plaintext of the chunk whose base64 text is `buf[ct_start:ct_end]`; DecryptError without detail."""
    check_key(shared_key)
    if not 0 <= ct_start <= ct_end <= len(buf):
        raise IndexError(f"The span {ct_start}:{ct_end} does not lie in a buffer of {len(buf)} bytes.")
    out = _new_bytes("uint8_t[]", ct_end - ct_start)
    count = _lib.db_open_chunk(as_pointer(buf), ct_start, ct_end, as_pointer(shared_key), out)
    if count < 0:
        raise DecryptError
    plaintext = _taken(out, count)
    _lib.db_wipe(out, count)
    return plaintext


def seal(plaintext: BytesLike, shared_key: BytesLike, nonce: bytes | None = None) -> bytes:
    """Base64 of nonce ‖ box. Without a nonce a fresh random one is used, which is right outside of tests."""
    check_key(shared_key)
    if nonce is None:
        nonce = os.urandom(NONCE_BYTES)
    check_nonce(nonce)
    size = (len(plaintext) + BOX_OVERHEAD_BYTES + 2) // 3 * 4
    out = _new_bytes("uint8_t[]", size)
    if _lib.db_seal(as_pointer(plaintext), len(plaintext), as_pointer(shared_key), nonce, out) != 0:
        raise RuntimeError("libsodium refused to seal a box: check the installation of PyNaCl.")
    return _taken(out, size)


def encode_frame(opcode: int, payload: BytesLike, *, mask: bytes | None = None, fin: bool = True) -> bytes:
    """One WebSocket frame. `mask` is None (server side) or four bytes; ValueError for what no peer may send."""
    head = encode_head(opcode, len(payload), masked=mask is not None, fin=fin)
    if mask is None:
        return head + payload
    check_mask(mask)
    out = _new_bytes("uint8_t[]", len(payload))
    _lib.db_mask(out, as_pointer(payload), len(payload), mask, 0)
    return head + mask + _taken(out, len(payload))


def _taken(out: CData, count: int) -> bytes:
    taken: bytes = _buffer(out, count)[:]
    return taken
