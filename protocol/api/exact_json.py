"""JSON bodies whose numbers survive: every top-level value keeps its own bytes."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from protocol.api.errors import ApiError, invalid_request

MAX_BRACKETS: Final = 262_144
"""Objects and arrays of one body, and brackets in its texts: each costs as much as a kilobyte of text to look at."""
MAX_MEMBERS: Final = 1024

_RAW_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EXACT: Final = msgspec.json.Decoder(float_hook=Decimal)

encode_exact: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Compact JSON of what `decode_exact` gave, and of raw values in it: every number with its digits."""


def decode_exact(text: bytes | msgspec.Raw) -> object:
    """Any JSON value; integers stay exact and fractions become `Decimal`.

    Raises ApiError 400 for text that is not one JSON value, is not UTF-8, holds a lone surrogate or nests too deeply.
    """
    try:
        return _EXACT.decode(text)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        raise malformed_body() from None


def split_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of one JSON object, each value as the very bytes that were sent; of equal keys the last one wins.

    Raises ApiError 400 as `decode_exact` does, and for any value that is not an object; 413 for one of so many parts
    that reading them would hold everybody else up.
    """
    if body.count(b"{") + body.count(b"[") > MAX_BRACKETS:
        raise _too_many(f"{MAX_BRACKETS} opening brackets")
    try:
        members = _RAW_OBJECT.decode(body)
    except msgspec.ValidationError:
        raise invalid_request("The request body must be one JSON object.") from None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise malformed_body() from None
    if len(members) > MAX_MEMBERS:
        raise _too_many(f"{MAX_MEMBERS} members")
    return members


def _too_many(what: str) -> ApiError:
    text = f"The request body holds more than {what}; send a smaller one."
    return invalid_request(text, code="payload_too_large", status=413)


def malformed_body() -> ApiError:
    """The one text for every unreadable body; it never quotes the body."""
    return invalid_request("The request body is not valid JSON; send one JSON object, encoded as UTF-8.")
