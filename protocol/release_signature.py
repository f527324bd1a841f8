"""Signatures over releases: by whom, over what, and how keys are written in settings.

What is signed (Ed25519, RFC 8032) are the 64 characters of the bundle's SHA-256 in lower-case hexadecimal digits.
Source: provider rules, self-update; trust rules, releases.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Final

from protocol.settings import Form, words

KEY_BYTES: Final = 32


def signing_keys() -> Form[tuple[bytes, ...]]:
    """Ed25519 public keys in base64, between commas."""
    return Form(
        "a comma-separated list of Ed25519 public keys in base64",
        lambda written: tuple(parse_signing_key(word) for word in words().parse(written)),
        lambda keys: ",".join(base64.b64encode(key).decode() for key in keys),
    )


def parse_signing_key(written: str) -> bytes:
    """Read the 32 bytes of one key; raises `ValueError`."""
    try:
        key = base64.b64decode(written, validate=True)
    except binascii.Error:
        raise ValueError from None
    if len(key) != KEY_BYTES:
        raise ValueError
    return key


def is_signed(bundle_hash: str, signature: str, keys: Iterable[bytes]) -> bool:
    """Whether a signature in base64 over a bundle's hash is by one of the keys."""
    try:
        taken = base64.b64decode(signature.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(_is_by(key, bundle_hash.encode("ascii", "replace"), taken) for key in keys)


def _is_by(key: bytes, text: bytes, signature: bytes) -> bool:
    # Commands that only read settings should not wait for the library.
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    try:
        VerifyKey(key).verify(text, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
