"""Base64 in the one form that the wire protocol allows (RFC 4648, section 4, canonical)."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from native.shapes import BytesLike


def decode_base64(buf: BytesLike) -> bytes:
    """Decode strict base64: standard alphabet, full padding, zero trailing bits; `\\/` stands for `/`.

    Raises ValueError for anything else.
    """
    text = undo_slash_escapes(bytes(buf))
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise ValueError("The text is not strict base64.") from None
    if binascii.b2a_base64(decoded, newline=False) != text:
        raise ValueError("The text is not strict base64.")
    return decoded


def undo_slash_escapes(text: bytes) -> bytes:
    """The text with every JSON escape `\\/` replaced by `/`."""
    return text.replace(b"\\/", b"/") if b"\\" in text else text
