"""How public keys that sign releases are written in a setting."""

import base64
import binascii
from typing import Final

from protocol.settings import Form, words

KEY_BYTES: Final = 32


def update_keys() -> Form[tuple[bytes, ...]]:
    """Ed25519 public keys in base64, between commas."""
    return Form(
        "a comma-separated list of Ed25519 public keys in base64",
        lambda written: tuple(parse_update_key(word) for word in words().parse(written)),
        lambda keys: ",".join(base64.b64encode(key).decode() for key in keys),
    )


def parse_update_key(written: str) -> bytes:
    """Read the 32 bytes of one key; raises `ValueError`."""
    try:
        key = base64.b64decode(written, validate=True)
    except binascii.Error:
        raise ValueError from None
    if len(key) != KEY_BYTES:
        raise ValueError
    return key
