"""The key directory over the database, with a cache of seconds in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import trio

from server.accounts import api_keys
from server.accounts.credentials import hash_of, legacy_account_id
from server.accounts.key_cache import LookupCache
from server.accounts.ports import AuthRefusal, Identity

if TYPE_CHECKING:
    from server.accounts.api_keys import ApiKey
    from server.accounts.changes import Changes
    from server.accounts.use_notes import UseNotes
    from server.store import Store, Work


class _Known(NamedTuple):
    """A key that was looked up, and the rights that it has while it is good."""

    key: ApiKey
    identity: Identity


class StoreKeys:
    """Finds API keys by hash. Times of last use are noted, not written. `wall_clock` gives microseconds."""

    def __init__(
        self,
        store: Store,
        *,
        changes: Changes,
        uses: UseNotes,
        clock: Callable[[], float],
        wall_clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._uses = uses
        self._wall_clock = wall_clock
        self.cache: LookupCache[_Known] = LookupCache(clock=clock, labels=_labels)
        changes.listen("key", self.drop)
        changes.listen("account", self.drop)

    def drop(self, subject: str) -> None:
        """Forget a key by id or hash, all keys of an account, or everything (`*`)."""
        self.cache.drop(subject)

    def recall(self, token: str) -> Identity | AuthRefusal | None:
        """Judge a token by the cache alone; None when it must be looked up."""
        return self.recall_hash(hash_of(token))

    def recall_hash(self, digest: str) -> Identity | AuthRefusal | None:
        """Judge the token with this hash by the cache alone; None when it must be looked up."""
        found = self.cache.find(digest)
        if found is not None:
            return self._judge(found)
        return AuthRefusal("invalid_api_key") if self.cache.is_missing(digest) else None

    async def authenticate(self, token: str) -> Identity | AuthRefusal:
        """See KeyDirectory; raises StoreUnavailable when the database does not answer."""
        digest = hash_of(token)
        known = self.recall_hash(digest)
        if known is not None:
            await trio.lowlevel.checkpoint()
            return known
        found = await self._look_up(digest, lambda tx: api_keys.find_by_hash(tx, digest))
        return AuthRefusal("invalid_api_key") if found is None else self._judge(found)

    async def authenticate_id(self, key_id: str) -> Identity | AuthRefusal:
        """Judge the key behind a browser session that was opened with it; raises StoreUnavailable."""
        found = self.cache.find(key_id)
        if found is None:
            found = await self._look_up(key_id, lambda tx: api_keys.find_by_id(tx, key_id))
        return AuthRefusal("invalid_api_key") if found is None else self._judge(found)

    async def _look_up(self, cache_key: str, find: Work[ApiKey | None]) -> _Known | None:
        generation = self.cache.generation
        key = await self._store.read(find)
        found = None if key is None else _Known(key, identity_of(key))
        self.cache.keep(cache_key, found, generation)
        return found

    def _judge(self, known: _Known) -> Identity | AuthRefusal:
        now = self._wall_clock()
        settings = known.key.settings
        if known.key.revoked_at is not None or known.key.owner_erased:
            return AuthRefusal("key_revoked")
        if settings.disabled:
            return AuthRefusal("key_disabled")
        if settings.expires_at is not None and settings.expires_at <= now:
            return AuthRefusal("key_expired")
        if known.key.owner_suspended:
            return AuthRefusal("account_suspended")
        self._uses.note(known.key.id, now)
        return known.identity


def identity_of(key: ApiKey) -> Identity:
    """Give the rights of a live key; one without owner is an account of its own."""
    settings = key.settings
    return Identity(
        account_id=key.owner_account_id or legacy_account_id(key.key_hash),
        key_id=key.id,
        has_user=key.has_user,
        role=key.role,
        allowed_models=frozenset(settings.allowed_models) or None,
        self_route_only=settings.self_route_only,
        limit_micro_usd=settings.limit_micro_usd,
        limit_reset=settings.limit_reset,
        rpm_limit=settings.rpm_limit,
        itpm_limit=settings.itpm_limit,
        otpm_limit=settings.otpm_limit,
    )


def _labels(known: _Known) -> tuple[str, ...]:
    key = known.key
    return (key.id, key.owner_account_id) if key.owner_account_id else (key.id,)
