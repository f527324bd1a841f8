"""The rows of API keys: SQL of the table and nothing else. Secrets are stored as hashes only.

Invariant: a key is live while `revoked_at` is null; rotation kills the old row and makes the new one in one
transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from server.accounts import users
from server.accounts.credentials import hash_of, label_of, new_api_key, new_key_id
from server.accounts.key_settings import KeySettings
from server.store import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.accounts.ports import LimitReset, Role
    from server.store import Row, Tx, Value

MAX_LIVE_KEYS: Final = 50
_SETTINGS: Final = (
    "name", "disabled", "limit_micro_usd", "limit_reset", "rpm_limit", "itpm_limit", "otpm_limit", "allowed_models",
    "self_route_only", "expires_at",
)  # fmt: skip
_COLUMNS: Final = (
    "k.id, k.key_hash, k.owner_account_id, k.label, k.revoked_at, k.created_at, k.last_used_at, "
    + ", ".join(f"k.{column}" for column in _SETTINGS)
)
_WITH_OWNER: Final = (
    f"SELECT {_COLUMNS}, u.account_id AS user_id, u.role AS user_role, u.erased_at AS user_erased_at, "
    "u.suspended_at AS user_suspended_at "
    "FROM api_keys k LEFT JOIN users u ON u.account_id = k.owner_account_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as stored; times in microseconds. `has_user`, `owner_erased`, `owner_suspended` and `role` tell of
    its owner, where it was asked for."""

    id: str
    key_hash: str = field(repr=False)
    owner_account_id: str
    label: str
    settings: KeySettings
    created_at: int
    last_used_at: int | None
    revoked_at: int | None
    has_user: bool = False
    owner_erased: bool = False
    owner_suspended: bool = False
    role: Role = ""


@dataclass(frozen=True, slots=True)
class FreshKey:
    """Id and secret of a key to be made. Made before the transaction, so that one which is run again, because the
    answer to its COMMIT was lost, finds its own key and gives the secret that is stored.
    """

    id: str = field(default_factory=new_key_id)
    secret: str = field(default_factory=new_api_key, repr=False)


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key with its secret, which is shown this one time."""

    secret: str = field(repr=False)
    key: ApiKey


async def find_by_hash(tx: Tx, key_hash: str) -> ApiKey | None:
    """Find a key, dead or alive, with its owner's role."""
    return _key(await tx.row(f"{_WITH_OWNER} WHERE k.key_hash = $1", key_hash))


async def find_by_id(tx: Tx, key_id: str) -> ApiKey | None:
    """Find a key, dead or alive, with its owner's role."""
    return _key(await tx.row(f"{_WITH_OWNER} WHERE k.id = $1", key_id))


async def list_live(tx: Tx, account_id: str) -> list[ApiKey]:
    """List an account's live keys, newest first."""
    sql = (
        f"SELECT {_COLUMNS} FROM api_keys k WHERE k.owner_account_id = $1 AND k.revoked_at IS NULL "
        "ORDER BY k.created_at DESC, k.id DESC"
    )
    return [_of(row) for row in await tx.fetch(sql, account_id)]


async def get_live(tx: Tx, account_id: str, key_id: str) -> ApiKey:
    """Give one live key of an account; raises NotFound, also for somebody else's."""
    sql = f"SELECT {_COLUMNS} FROM api_keys k WHERE k.id = $1 AND k.owner_account_id = $2 AND k.revoked_at IS NULL"
    row = await tx.row(sql, key_id, account_id)
    if row is None:
        raise NotFound("There is no such API key; GET /v1/keys lists yours.")
    return _of(row)


async def create(
    tx: Tx, account_id: str, changes: Mapping[str, Value], now: int, fresh: FreshKey | None = None
) -> MadeKey:
    """Make a key with settings that `parse_changes` read; raises Conflict above 50 live keys.

    Expired keys count until they are revoked: they are listed, and come back when their time is changed.
    """
    fresh = fresh or FreshKey()
    await users.lock(tx, account_id)
    made = await _made_before(tx, account_id, fresh)
    if made is not None:
        return made
    live = await tx.value(
        "SELECT COUNT(*) FROM api_keys WHERE owner_account_id = $1 AND revoked_at IS NULL", account_id
    )
    if cast(int, live) >= MAX_LIVE_KEYS:
        raise Conflict(f"This account has {MAX_LIVE_KEYS} API keys, which is the most; revoke one first.")
    return await _insert(tx, account_id, changes, now, fresh)


async def change(tx: Tx, account_id: str, key_id: str, changes: Mapping[str, Value]) -> ApiKey:
    """Change some settings of a live key; raises NotFound."""
    if not changes:
        return await get_live(tx, account_id, key_id)
    columns = [column for column in _SETTINGS if column in changes]
    assignments = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 3))
    sql = (
        f"UPDATE api_keys SET {assignments} WHERE id = $1 AND owner_account_id = $2 AND revoked_at IS NULL RETURNING id"
    )
    if await tx.row(sql, key_id, account_id, *(changes[column] for column in columns)) is None:
        raise NotFound("There is no such API key; GET /v1/keys lists yours.")
    return await get_live(tx, account_id, key_id)


async def rotate(tx: Tx, account_id: str, key_id: str, now: int, fresh: FreshKey | None = None) -> MadeKey:
    """Replace a live key by a new id and secret with the same settings; raises NotFound, also for a race's loser."""
    fresh = fresh or FreshKey()
    old = await tx.row(
        "UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND owner_account_id = $2 AND revoked_at IS NULL "
        f"RETURNING {', '.join(_SETTINGS)}",
        key_id,
        account_id,
        now,
    )
    if old is None:
        made = await _made_before(tx, account_id, fresh)
        if made is None:
            raise NotFound("There is no such API key; GET /v1/keys lists yours.")
        return made
    return await _insert(tx, account_id, {column: old[column] for column in _SETTINGS}, now, fresh)


async def revoke(tx: Tx, account_id: str, key_id: str, now: int) -> str:
    """Kill a live key and give its hash; raises NotFound."""
    row = await tx.row(
        "UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND owner_account_id = $2 AND revoked_at IS NULL "
        "RETURNING key_hash",
        key_id,
        account_id,
        now,
    )
    if row is None:
        raise NotFound("There is no such API key; GET /v1/keys lists yours.")
    return cast(str, row["key_hash"])


async def all_self_route_only(tx: Tx, account_id: str, now: int) -> bool:
    """Whether an account has active keys and every one of them is for its own machines only."""
    row = await tx.row(
        "SELECT COUNT(*) AS active, CAST(COALESCE(SUM(self_route_only), 0) AS BIGINT) AS own FROM api_keys "
        "WHERE owner_account_id = $1 AND revoked_at IS NULL AND disabled = 0 "
        "AND (expires_at IS NULL OR expires_at > $2)",
        account_id,
        now,
    )
    return row is not None and cast(int, row["active"]) > 0 and row["active"] == row["own"]


async def note_used(tx: Tx, key_id: str, at: int) -> None:
    """Note the last use of a key; never goes back in time."""
    sql = "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)"
    await tx.execute(sql, key_id, at)


async def _made_before(tx: Tx, account_id: str, fresh: FreshKey) -> MadeKey | None:
    found = await find_by_id(tx, fresh.id)
    return None if found is None else MadeKey(fresh.secret, await get_live(tx, account_id, fresh.id))


async def _insert(tx: Tx, account_id: str, changes: Mapping[str, Value], now: int, fresh: FreshKey) -> MadeKey:
    columns = [column for column in _SETTINGS if column in changes]
    names = "".join(f", {column}" for column in columns)
    places = "".join(f", ${number}" for number in range(6, 6 + len(columns)))
    await tx.execute(
        f"INSERT INTO api_keys (id, key_hash, owner_account_id, label, created_at{names}) "
        f"VALUES ($1, $2, $3, $4, $5{places})",
        fresh.id,
        hash_of(fresh.secret),
        account_id,
        label_of(fresh.secret),
        now,
        *(changes[column] for column in columns),
    )
    return MadeKey(fresh.secret, await get_live(tx, account_id, fresh.id))


def _key(row: Row | None) -> ApiKey | None:
    return None if row is None else _of(row)


def _of(row: Row) -> ApiKey:
    return ApiKey(
        id=cast(str, row["id"]),
        key_hash=cast(str, row["key_hash"]),
        owner_account_id=cast(str, row["owner_account_id"]),
        label=cast(str, row["label"]),
        created_at=cast(int, row["created_at"]),
        last_used_at=cast("int | None", row["last_used_at"]),
        revoked_at=cast("int | None", row["revoked_at"]),
        has_user=row.get("user_id") is not None,
        owner_erased=row.get("user_erased_at") is not None,
        owner_suspended=row.get("user_suspended_at") is not None,
        role=cast("Role", row["user_role"] or "") if "user_role" in row else "",
        settings=KeySettings(
            name=cast(str, row["name"]),
            disabled=bool(row["disabled"]),
            limit_micro_usd=cast("int | None", row["limit_micro_usd"]),
            limit_reset=cast("LimitReset", row["limit_reset"]),
            rpm_limit=cast("int | None", row["rpm_limit"]),
            itpm_limit=cast("int | None", row["itpm_limit"]),
            otpm_limit=cast("int | None", row["otpm_limit"]),
            allowed_models=tuple(json.loads(cast(str, row["allowed_models"]))),
            self_route_only=bool(row["self_route_only"]),
            expires_at=cast("int | None", row["expires_at"]),
        ),
    )
