"""API keys from the setting DARKBLOOM_API_KEYS: one account per key, known by its hash only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import trio

from protocol.settings import Secret
from server.accounts.ports import AuthRefusal, Identity

ID_HEX_DIGITS: Final = 12


class SettingsKeys:
    """A fixed set of keys. Lookup is by SHA-256, so its time says nothing about the characters of a key."""

    def __init__(self, keys: Iterable[Secret]) -> None:
        self._identities: dict[bytes, Identity] = {}
        for key in keys:
            digest = hashlib.sha256(key.reveal().encode()).digest()
            short = digest.hex()[:ID_HEX_DIGITS]
            self._identities[digest] = Identity(account_id=f"acct_{short}", key_id=f"key_{short}")

    def __len__(self) -> int:
        return len(self._identities)

    def __repr__(self) -> str:
        return f"<SettingsKeys {len(self)} keys>"

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        """See KeyDirectory."""
        await trio.lowlevel.checkpoint()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        return self._identities.get(digest) or AuthRefusal("invalid_api_key")
