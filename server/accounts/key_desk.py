"""Managing the API keys of an account: each change is one transaction, the caches and other processes told around it.

What a key has spent is summed up over the last minutes only: what it spent before is remembered, and final.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from server.accounts import api_keys
from server.accounts.api_keys import FreshKey
from server.accounts.credentials import hash_of
from server.billing.key_spend import SPENT_SQL, SpendCache, summed_from
from server.store import NotFound

if TYPE_CHECKING:
    from server.accounts.api_keys import ApiKey, MadeKey
    from server.accounts.changes import Changes
    from server.accounts.key_settings import Changes as KeyChanges
    from server.accounts.store_keys import StoreKeys
    from server.billing.key_spend import SpentBefore, Window
    from server.store import Store, Tx


class NotYours(Exception):
    """The key exists and belongs to somebody else; told only to who shows the key itself."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key with what it has spent in its current window, in micro-USD."""

    key: ApiKey
    spent: int

    @property
    def remaining(self) -> int | None:
        """What the cap leaves; None without a cap."""
        limit = self.key.settings.limit_micro_usd
        return None if limit is None else max(0, limit - self.spent)


class KeyDesk:
    """Creates, lists, changes, rotates and revokes keys. `wall_clock` gives microseconds.

    Raises NotFound for keys that are not the caller's, Conflict above 50 live keys, StoreUnavailable.
    """

    def __init__(self, store: Store, *, keys: StoreKeys, changes: Changes, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._keys = keys
        self._changes = changes
        self._wall_clock = wall_clock
        self._spend = SpendCache(store)

    async def create(self, account_id: str, settings: KeyChanges) -> MadeKey:
        """Make a key; its secret is in the result and nowhere else."""
        now, fresh = self._wall_clock(), FreshKey()
        return await self._store.write(lambda tx: api_keys.create(tx, account_id, settings, now, fresh))

    async def create_like_the_others(self, account_id: str) -> MadeKey:
        """Make a key that is for the own machines only if every active key of the account is."""
        now, fresh = self._wall_clock(), FreshKey()

        async def work(tx: Tx) -> MadeKey:
            own_only = await api_keys.all_self_route_only(tx, account_id, now)
            return await api_keys.create(tx, account_id, {"self_route_only": int(own_only)}, now, fresh)

        return await self._store.write(work)

    async def list_live(self, account_id: str) -> list[KeyRecord]:
        """List the live keys of an account, newest first."""
        return await self._with_spend(await self._store.read(lambda tx: api_keys.list_live(tx, account_id)))

    async def get(self, account_id: str, key_id: str) -> KeyRecord:
        """Give one live key of an account."""
        key = await self._store.read(lambda tx: api_keys.get_live(tx, account_id, key_id))
        (record,) = await self._with_spend([key])
        return record

    async def describe(self, key_id: str) -> KeyRecord:
        """Give any live key by its id: for the holder of the key itself."""
        key = await self._store.read(lambda tx: api_keys.find_by_id(tx, key_id))
        if key is None or key.revoked_at is not None:
            raise NotFound("This key has no record; it is one of the coordinator's settings.")
        (record,) = await self._with_spend([key])
        return record

    async def change(self, account_id: str, key_id: str, settings: KeyChanges) -> KeyRecord:
        """Change what `settings` names and leave the rest."""
        now = self._wall_clock()
        old = (await self._store.read(lambda tx: api_keys.get_live(tx, account_id, key_id))).settings
        window = cast("Window", settings.get("limit_reset", old.limit_reset))
        before = await self._spend.before(key_id, window, now)

        async def work(tx: Tx) -> KeyRecord:
            changed = await api_keys.change(tx, account_id, key_id, settings)
            await self._changes.announce(tx, "key", key_id)
            return KeyRecord(changed, await _spent(tx, changed, before, now))

        with self._keys.cache.changing(key_id):
            return await self._store.write(work)

    async def rotate(self, account_id: str, key_id: str) -> MadeKey:
        """Give a key a new id and a new secret; the old secret is dead when this returns."""
        now, fresh = self._wall_clock(), FreshKey()

        async def work(tx: Tx) -> MadeKey:
            made = await api_keys.rotate(tx, account_id, key_id, now, fresh)
            await self._changes.announce(tx, "key", key_id)
            return made

        with self._keys.cache.changing(key_id):
            return await self._store.write(work)

    async def revoke(self, account_id: str, key_id: str) -> None:
        """Kill a key."""
        now = self._wall_clock()

        async def work(tx: Tx) -> None:
            await api_keys.revoke(tx, account_id, key_id, now)
            await self._changes.announce(tx, "key", key_id)

        with self._keys.cache.changing(key_id):
            await self._store.write(work)

    async def revoke_secret(self, account_id: str, secret: str) -> None:
        """Kill the key whose secret is shown; raises NotYours when it belongs to another account."""
        digest = hash_of(secret)
        found = await self._store.read(lambda tx: api_keys.find_by_hash(tx, digest))
        if found is None or found.revoked_at is not None:
            raise NotFound("There is no such API key; GET /v1/keys lists yours.")
        if found.owner_account_id != account_id:
            raise NotYours
        await self.revoke(account_id, found.id)

    async def _with_spend(self, keys: Sequence[ApiKey]) -> list[KeyRecord]:
        now = self._wall_clock()
        before = [await self._spend.before(key.id, key.settings.limit_reset, now) for key in keys]

        async def work(tx: Tx) -> list[KeyRecord]:
            return [
                KeyRecord(key, await _spent(tx, key, earlier, now)) for key, earlier in zip(keys, before, strict=True)
            ]

        return await self._store.read(work)


async def _spent(tx: Tx, key: ApiKey, before: SpentBefore, now: int) -> int:
    since, earlier = summed_from(key.settings.limit_reset, now, before)
    sql = f"SELECT {SPENT_SQL.format(key='$1', start='$2')}"
    return earlier + cast(int, await tx.value(sql, key.id, since))
