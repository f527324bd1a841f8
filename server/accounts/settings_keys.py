"""API keys from the setting DARKBLOOM_API_KEYS: one synthetic account per key, known by its hash only.

They are the operator's own: for the first steps, and for installations with one user. They have no user row, no spend
cap, no rate limit and no bill.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import trio

from protocol.settings import Secret
from server.accounts.credentials import hash_of
from server.accounts.ports import AuthRefusal, Identity

ID_HEX_DIGITS: Final = 12


class SettingsKeys:
    """A fixed set of keys. Lookup is by SHA-256, so its time says nothing about the characters of a key."""

    def __init__(self, keys: Iterable[Secret]) -> None:
        self._identities: dict[str, Identity] = {}
        for key in keys:
            digest = hash_of(key.reveal())
            short = digest[:ID_HEX_DIGITS]
            self._identities[digest] = Identity(
                account_id=f"acct_{short}", key_id=f"key_{short}", covered=True, unlimited=True
            )
        self._by_id = {identity.key_id: identity for identity in self._identities.values()}

    def __len__(self) -> int:
        return len(self._identities)

    def __repr__(self) -> str:
        return f"<SettingsKeys {len(self)} keys>"

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        """See KeyDirectory."""
        await trio.lowlevel.checkpoint()
        return self.by_hash(hash_of(token)) or AuthRefusal("invalid_api_key")

    def by_hash(self, digest: str) -> Identity | None:
        """Give the identity of a listed key by its hash."""
        return self._identities.get(digest)

    def by_id(self, key_id: str) -> Identity | None:
        """Give the identity of a listed key by its id; None after it left the setting."""
        return self._by_id.get(key_id)
