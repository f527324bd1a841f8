"""Keys that may publish models: the one from the settings, admin keys, and rows of `publishing_api_keys`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from server.accounts.credentials import ID_BYTES, SECRET_BYTES, hash_of
from server.accounts.key_settings import MAX_NAME, clean_line

if TYPE_CHECKING:
    from server.accounts.credentials import ListedSecrets
    from server.accounts.use_notes import UseNotes
    from server.store import Store, Tx

PREFIX: Final = "sk-db-pub-"
MAX_LISTED: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishingKey:
    """A stored key; times in microseconds."""

    id: str
    name: str
    active: bool
    created_at: int
    last_used_at: int | None


@dataclass(frozen=True, slots=True)
class MadePublishingKey:
    """A new key with its secret, which is shown this one time."""

    secret: str = field(repr=False)
    id: str


async def note_used(tx: Tx, key_id: str, at: int) -> None:
    """Note the last use of a key."""
    sql = (
        "UPDATE publishing_api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)"
    )
    await tx.execute(sql, key_id, at)


class PublishingKeys:
    """Makes, checks and revokes publishing keys. `wall_clock` gives microseconds; raises StoreUnavailable."""

    def __init__(
        self,
        store: Store,
        *,
        bootstrap: ListedSecrets,
        admin_keys: ListedSecrets,
        uses: UseNotes,
        wall_clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._bootstrap = bootstrap
        self._admin_keys = admin_keys
        self._uses = uses
        self._wall_clock = wall_clock

    async def name_of(self, token: str) -> str | None:
        """Give who publishes with a token: a name for records; None when it may not."""
        if token in self._bootstrap:
            return "publishing"
        if token in self._admin_keys:
            return "admin"
        digest = hash_of(token)
        sql = "SELECT id, name FROM publishing_api_keys WHERE key_hash = $1 AND active = 1"
        row = await self._store.read(lambda tx: tx.row(sql, digest))
        if row is None:
            return None
        self._uses.note(cast(str, row["id"]), self._wall_clock())
        return cast(str, row["name"])

    async def create(self, name: str) -> MadePublishingKey:
        """Make a key; raises ValueError for a bad name."""
        clean = clean_line(name, MAX_NAME)
        if not clean:
            raise ValueError("A publishing key needs a name.")
        secret = PREFIX + secrets.token_hex(SECRET_BYTES)
        key_id = "pub_" + secrets.token_hex(ID_BYTES)
        now = self._wall_clock()
        sql = "INSERT INTO publishing_api_keys (id, name, key_hash, created_at) VALUES ($1, $2, $3, $4)"
        await self._store.write(lambda tx: tx.execute(sql, key_id, clean, hash_of(secret), now))
        return MadePublishingKey(secret, key_id)

    async def revoke(self, key_id: str) -> bool:
        """Take a key's rights; False when there is no active one."""
        sql = "UPDATE publishing_api_keys SET active = 0 WHERE id = $1 AND active = 1"
        return await self._store.write(lambda tx: tx.execute(sql, key_id)) > 0

    async def list(self) -> list[PublishingKey]:
        """List the keys, newest first."""
        sql = (
            "SELECT id, name, active, created_at, last_used_at FROM publishing_api_keys "
            "ORDER BY created_at DESC, id LIMIT $1"
        )
        return [
            PublishingKey(
                id=cast(str, row["id"]),
                name=cast(str, row["name"]),
                active=bool(row["active"]),
                created_at=cast(int, row["created_at"]),
                last_used_at=cast("int | None", row["last_used_at"]),
            )
            for row in await self._store.read(lambda tx: tx.fetch(sql, MAX_LISTED))
        ]
