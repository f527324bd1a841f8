"""Encryption for one recipient with age v1 (X25519, ChaCha20-Poly1305 in chunks): any age tool decrypts it.

The library is loaded by the first export; most coordinators never make one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrage.x25519 import Recipient


class RecipientUnusable(ValueError):
    """The recipient is not an age X25519 recipient."""


def read_recipient(text: str) -> Recipient:
    """Read `age1…`; raises RecipientUnusable."""
    import pyrage

    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except (pyrage.RecipientError, ValueError):
        raise RecipientUnusable(
            "DARKBLOOM_STATE_EXPORT_RECIPIENT is no age recipient; make a key pair with `age-keygen` and set its "
            "public key."
        ) from None


def seal_file(source: Path, target: Path, recipient: Recipient) -> None:
    """Encrypt a file, in pieces."""
    import pyrage

    pyrage.encrypt_file(str(source), str(target), [recipient])
