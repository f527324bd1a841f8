"""Bearer tokens of every kind, in the order that decides: Privy session, admin key, listed key, stored key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import trio

from server.accounts.credentials import hash_of
from server.accounts.ports import ADMIN_ACCOUNT, AuthRefusal, Identity
from server.accounts.privy_tokens import KeysUnavailable, TokenRefused
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.accounts.credentials import ListedSecrets
    from server.accounts.privy_tokens import PrivySession, PrivyTokens
    from server.accounts.privy_users import PrivyUsers
    from server.accounts.settings_keys import SettingsKeys
    from server.accounts.store_keys import StoreKeys
    from server.accounts.users import AdminRule, User

JWT_START: Final = "eyJ"
ADMIN_IDENTITY: Final = Identity(
    account_id=ADMIN_ACCOUNT, key_id="", credential="admin_key", is_admin=True, covered=True, unlimited=True
)


class PrivyLogin:
    """Turns a Privy token into the identity of its user."""

    def __init__(self, tokens: PrivyTokens, people: PrivyUsers, is_admin: AdminRule) -> None:
        self._tokens = tokens
        self._people = people
        self._is_admin = is_admin

    def recall(self, token: str) -> Identity | AuthRefusal | None:
        """Judge a token by what was seen of it and its user a moment ago."""
        session = self._tokens.recall(token)
        user = None if session is None else self._people.recall(session.did)
        return None if user is None else self._judge(user)

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        """Verify a token and find or make its user; raises StoreUnavailable when keys or users cannot be had."""
        try:
            return self._judge(await self.user_of(token))
        except TokenRefused:
            return AuthRefusal("invalid_token")

    async def user_of(self, token: str) -> User:
        """Verify a token and find or make its user; raises TokenRefused, StoreUnavailable."""
        try:
            session: PrivySession = await self._tokens.verify(token)
        except KeysUnavailable:
            raise StoreUnavailable("The identity provider's keys cannot be fetched; try again.") from None
        return await self._people.user_of(session.did)

    def _judge(self, user: User) -> Identity | AuthRefusal:
        if user.is_suspended:
            return AuthRefusal("account_suspended")
        return user_identity(user, is_admin=self._is_admin(user), credential="jwt")


def user_identity(
    user: User, *, is_admin: bool, credential: Literal["jwt", "cookie"], session_hash: str = ""
) -> Identity:
    """Give the rights of a person who is signed in."""
    return Identity(
        account_id=user.account_id,
        key_id="",
        credential=credential,
        has_user=True,
        is_admin=is_admin,
        role=user.role,
        session_hash=session_hash,
    )


class BearerDirectory:
    """The KeyDirectory of everything; a Privy token that fails is never tried as a key."""

    def __init__(
        self, *, listed: SettingsKeys, stored: StoreKeys, admin_keys: ListedSecrets, privy: PrivyLogin | None = None
    ) -> None:
        self._listed = listed
        self._stored = stored
        self._admin_keys = admin_keys
        self._privy = privy

    @property
    def privy(self) -> PrivyLogin | None:
        """The way of Privy tokens; None without Privy."""
        return self._privy

    def recall(self, token: str, *, keys_only: bool = False) -> Identity | AuthRefusal | None:
        """Judge a token without asking anybody; None when that cannot be done."""
        if not keys_only and self._privy is not None and token.startswith(JWT_START):
            return self._privy.recall(token)
        digest = hash_of(token)
        if not keys_only and self._admin_keys.has_hash(digest):
            return ADMIN_IDENTITY
        return self._listed.by_hash(digest) or self._stored.recall_hash(digest)

    async def authenticate(self, token: str, *, keys_only: bool = False) -> Identity | AuthRefusal:
        """See KeyDirectory. `keys_only` is for tokens from `x-api-key`, which is a place for API keys alone.

        Raises StoreUnavailable when the database or the identity provider's keys cannot be had.
        """
        known = self.recall(token, keys_only=keys_only)
        if known is not None:
            await trio.lowlevel.checkpoint()
            return known
        if not keys_only and self._privy is not None and token.startswith(JWT_START):
            return await self._privy.authenticate(token)
        return await self._stored.authenticate(token)

    async def authenticate_id(self, key_id: str) -> Identity | AuthRefusal:
        """Judge the key behind a browser session that was opened with it."""
        return self._listed.by_id(key_id) or await self._stored.authenticate_id(key_id)
