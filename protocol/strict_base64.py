"""Base64 text after JSON decoding, in the one canonical form that the wire allows."""

import native


def decode_strict_base64(text: str) -> bytes:
    """Decode RFC 4648 standard alphabet, padded, zero trailing bits; raises `ValueError` without quoting the text.

    The JSON escape `\\/` was undone by the JSON parser before; a backslash that is still there is junk.
    """
    if not text.isascii() or "\\" in text:
        raise ValueError("The text is not strict base64; send the padded standard alphabet.")
    return native.decode_base64(text.encode())
