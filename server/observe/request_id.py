"""Request ids: the one that clients see and may choose, and the one that is ours alone."""

from __future__ import annotations

import os
import re
from itertools import product
from typing import Final

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
# Every pair of characters, by its ten bits.
_PAIRS: Final = tuple("".join(pair) for pair in product(_ALPHABET, repeat=2))
# RFC 9562 4.1: the two high bits of this digit are 10.
_VARIANTS: Final = "89ab"
_SHIFTS: Final = tuple(range(0, 60, 10))
_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def mint_request_id() -> str:
    """Return a new id of 12 characters from 0-9a-v (60 random bits)."""
    bits = int.from_bytes(os.urandom(8), "big")
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


def choose_request_id(offered: str | None) -> str:
    """Return the client's `X-Request-ID` if it may be echoed, else a new id."""
    if offered is not None and _ACCEPTED.fullmatch(offered):
        return offered
    return mint_request_id()


def mint_coord_request_id() -> str:
    """Return the id under which we keep one logical request; no client ever chooses it."""
    return mint_uuid()


def mint_uuid() -> str:
    """Return a new random UUID (version 4, RFC 9562) in its text form."""
    digits = os.urandom(16).hex()
    variant = _VARIANTS[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
