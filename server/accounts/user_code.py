"""The short code that a person types to link a machine: `XXXX-XXXX`, without characters that look alike."""

from __future__ import annotations

import secrets
from typing import Final

ALPHABET: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""No 0, O, 1, I or L."""

HALF: Final = 4
LENGTH: Final = 2 * HALF
MAX_TYPED: Final = 64


def new_user_code() -> str:
    """Make a random code."""
    return _hyphenated("".join(secrets.choice(ALPHABET) for _ in range(LENGTH)))


def normal_user_code(typed: str) -> str | None:
    """Give a code as it is stored: upper case, everything else dropped; None when eight characters do not remain."""
    kept = "".join(character for character in typed[:MAX_TYPED].upper() if character in ALPHABET)
    return _hyphenated(kept) if len(kept) == LENGTH else None


def _hyphenated(plain: str) -> str:
    return f"{plain[:HALF]}-{plain[HALF:]}"
