"""Builders of provider frames for the tests of `native`, and the list of implementations that every test runs on."""

from __future__ import annotations

from types import ModuleType

from native import pure
from native.shapes import SpliceTemplate

try:
    from native import speed
except ImportError:
    IMPLEMENTATIONS: list[ModuleType] = [pure]
else:
    IMPLEMENTATIONS = [speed, pure]

PEER = b"2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="
KEY = bytes.fromhex("5cc5d6db778d3a2945481df97f94f2b30610fea8a79757b0417bc8ce454228ff")
NONCE = bytes(range(24))
MASK = b"\x11\xa2\x00\xfe"

TEMPLATE = SpliceTemplate(
    in_prefix=b'data: {"id":"p","model":"build","choices":[{"index":0,"delta":{"content":"',
    in_suffix=b'"},"finish_reason":null}]}',
    out_prefix=b'data: {"id":"chatcmpl-J","model":"name","choices":[{"index":0,"delta":{"content":"',
    out_suffix=b'"},"finish_reason":null}]}\n\n',
)


def sealed(plaintext: bytes, key: bytes = KEY, nonce: bytes = NONCE) -> bytes:
    """Base64 ciphertext of a plaintext."""
    return pure.seal(plaintext, key, nonce)


def delta(text: bytes, end: bytes = b"\n\n") -> bytes:
    """Plaintext of a content delta that matches TEMPLATE if the text allows it."""
    return TEMPLATE.in_prefix + text + TEMPLATE.in_suffix + end


def spliced(text: bytes) -> bytes:
    """What the splice makes of `delta(text)` for a text without `\\/`."""
    return TEMPLATE.out_prefix + text + TEMPLATE.out_suffix


def chunk(request_id: str, ciphertext: bytes, key_text: bytes = PEER) -> bytes:
    """An `inference_response_chunk` message as our provider writes it."""
    return (
        b'{"type":"inference_response_chunk","request_id":"'
        + request_id.encode()
        + b'","encrypted_data":{"ephemeral_public_key":"'
        + key_text
        + b'","ciphertext":"'
        + ciphertext
        + b'"}}'
    )


def frame(opcode: int, payload: bytes, *, mask: bytes = MASK, fin: bool = True) -> bytes:
    """A masked frame, as a client sends it."""
    return pure.encode_frame(opcode, payload, mask=mask, fin=fin)


def text(payload: bytes) -> bytes:
    """A whole text message in one frame."""
    return frame(1, payload)
