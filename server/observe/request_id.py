"""Request ids: the one that clients see and may choose, and the one that is ours alone."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import Final

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_LENGTH: Final = 12
_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def mint_request_id() -> str:
    """Return a new id of 12 characters from 0-9a-v (60 random bits)."""
    bits = secrets.randbits(5 * _LENGTH)
    return "".join(_ALPHABET[bits >> 5 * place & 31] for place in range(_LENGTH))


def choose_request_id(offered: str | None) -> str:
    """Return the client's `X-Request-ID` if it may be echoed, else a new id."""
    if offered is not None and _ACCEPTED.fullmatch(offered):
        return offered
    return mint_request_id()


def mint_coord_request_id() -> str:
    """Return the id under which we keep one logical request; no client ever chooses it."""
    return str(uuid.uuid4())
