"""Checks at import that the extension and PyNaCl's libsodium fit together, with vectors that never change."""

from __future__ import annotations

from native import shapes, speed
from native._speed import lib
from native.shapes import EV_MESSAGE, EV_OPENED, EV_VIOLATION, V_OPEN

_KEY = bytes.fromhex("5cc5d6db778d3a2945481df97f94f2b30610fea8a79757b0417bc8ce454228ff")
_NONCE = bytes(range(0xC0, 0xD8))
_PLAINTEXT = b"data: [DONE]"
_SEALED = b"wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbXm1TZcNUGai1dE22FqjfSJy2RPZK91I2raZG0Wg=="
_CHUNK = (
    b'{"type":"inference_response_chunk","request_id":"r","encrypted_data":'
    b'{"ephemeral_public_key":"K","ciphertext":"' + _SEALED + b'"}}'
)
_LIMITS = {
    "DB_MAX_DEPTH": shapes.MAX_DEPTH,
    "DB_MAX_SCAN_BYTES": shapes.MAX_SCAN_BYTES,
    "DB_MAX_ID_BYTES": shapes.MAX_ID_BYTES,
    "DB_MAX_TEMPLATE_BYTES": shapes.MAX_TEMPLATE_BYTES,
    "DB_MAX_PEER_KEY_BYTES": shapes.MAX_PEER_KEY_BYTES,
    "DB_EVENT_LIMIT": shapes.EVENT_LIMIT,
    "DB_MAX_WRITE_BYTES": shapes.MAX_WRITE_BYTES,
}


def failure() -> str:
    """Empty if everything fits; else a sentence that says what does not, and what to do."""
    for name, limit in _LIMITS.items():
        if getattr(lib, name, None) != limit:
            return f"The extension native._speed is of another version ({name} is not {limit}): build it again."
    if not _boxes_work() or not _pump_works():
        return "The extension native._speed fails its self-test with this PyNaCl: install the pinned version."
    return ""


def _boxes_work() -> bool:
    if speed.seal(_PLAINTEXT, _KEY, _NONCE) != _SEALED:
        return False
    if speed.open_chunk(_SEALED, 0, len(_SEALED), _KEY) != _PLAINTEXT:
        return False
    try:
        speed.open_chunk(_SEALED, 0, len(_SEALED), bytes(32))
    except shapes.DecryptError:
        return True
    return False


def _pump_works() -> bool:
    pump = speed.Pump(max_message_bytes=4096)
    pump.set_peer_key(b"K")
    pump.attach("r", _KEY, "owner")
    frame = speed.encode_frame(shapes.OP_TEXT, _CHUNK, mask=b"mask")
    forged = speed.encode_frame(shapes.OP_TEXT, _CHUNK.replace(b"wMHC", b"wMHD"), mask=b"mask")
    events = pump.feed(frame + forged + frame)
    pump.close()
    return events == [
        (EV_OPENED, "owner", _PLAINTEXT, 0, 0),
        (EV_VIOLATION, "owner", b"", V_OPEN, 0),
        (EV_MESSAGE, None, _CHUNK, shapes.OP_TEXT, 0),
    ]
