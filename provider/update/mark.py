"""The mark in a bundle's root: what it is, and who may sign what comes after it."""

from pathlib import Path
from typing import Final

import msgspec

from protocol.release_signature import parse_signing_key
from provider.update.release import ReleaseRefused

MARK: Final = "darkbloom-bundle.json"
"""The file in a bundle's root that says what it is."""

MAX_MARK_BYTES: Final = 64 * 1024


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says of itself: its version, and the keys of which one must have signed the release after it."""

    version: str = ""
    update_keys: tuple[str, ...] = ()


def read_mark(folder: Path) -> Mark:
    """Read a bundle's mark; raises `ReleaseRefused`, because an unreadable mark may have named keys."""
    try:
        with (folder / MARK).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_MARK_BYTES), type=Mark)
    except (OSError, ValueError):
        raise ReleaseRefused(f"The file {folder / MARK} cannot be read; install the program anew.") from None


def keys_of(installed: Path) -> tuple[bytes, ...]:
    """Give the keys that an installed bundle pins; raises `ReleaseRefused` when they cannot be read."""
    try:
        return tuple(parse_signing_key(key) for key in read_mark(installed).update_keys)
    except ValueError:
        raise ReleaseRefused(f"A key in {installed / MARK} is no Ed25519 key; install the program anew.") from None
