"""Opens and seals NaCl boxes with a precomputed key, through PyNaCl."""

from __future__ import annotations

import binascii
import os

from nacl.bindings import crypto_box_easy_afternm, crypto_box_open_easy_afternm
from nacl.exceptions import CryptoError

from native.pure.strict_base64 import decode_base64
from native.shapes import BOX_OVERHEAD_BYTES, NONCE_BYTES, BytesLike, DecryptError, check_key, check_nonce


def open_chunk(buf: BytesLike, ct_start: int, ct_end: int, shared_key: BytesLike) -> bytes:
    """Plaintext of the chunk whose base64 text is `buf[ct_start:ct_end]`.

    `shared_key` has 32 bytes. Raises DecryptError, without detail, if the text is not strict base64, holds fewer than
    40 bytes or does not open; IndexError if the span does not lie in the buffer.
    """
    check_key(shared_key)
    if not 0 <= ct_start <= ct_end <= len(buf):
        raise IndexError(f"The span {ct_start}:{ct_end} does not lie in a buffer of {len(buf)} bytes.")
    try:
        box = decode_base64(bytes(memoryview(buf)[ct_start:ct_end]))
    except ValueError:
        raise DecryptError from None
    if len(box) < BOX_OVERHEAD_BYTES:
        raise DecryptError
    return open_box(box, bytes(shared_key))


def open_box(box: bytes, shared_key: bytes) -> bytes:
    """Plaintext of nonce ‖ box (at least 40 bytes); raises DecryptError if it does not open."""
    try:
        return crypto_box_open_easy_afternm(box[NONCE_BYTES:], box[:NONCE_BYTES], shared_key)
    except (CryptoError, ValueError):
        raise DecryptError from None


def seal(plaintext: BytesLike, shared_key: BytesLike, nonce: bytes | None = None) -> bytes:
    """Base64 of nonce ‖ box. Without a nonce a fresh random one is used, which is right outside of tests."""
    check_key(shared_key)
    if nonce is None:
        nonce = os.urandom(NONCE_BYTES)
    check_nonce(nonce)
    box = crypto_box_easy_afternm(bytes(plaintext), nonce, bytes(shared_key))
    return binascii.b2a_base64(nonce + box, newline=False)
