"""API keys as operators see them: of one account or of all, found by id or by label, never by the secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from server.accounts import api_keys
from server.administration import accounts
from server.administration.operator import Deed, Operator
from server.store import Conflict, NotFound

if TYPE_CHECKING:
    from server.accounts.api_keys import MadeKey
    from server.store import Row, Tx, Value

MAX_LISTED: Final = 500
_COLUMNS: Final = (
    "id, owner_account_id, name, label, disabled, limit_micro_usd, limit_reset, expires_at, revoked_at, created_at,"
    " last_used_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """A key; micro-USD and microseconds."""

    id: str
    owner_account_id: str
    name: str
    label: str
    disabled: bool
    limit_micro_usd: int | None
    limit_reset: str
    expires_at: int | None
    revoked_at: int | None
    created_at: int
    last_used_at: int | None

    def state(self, now: int) -> str:
        """Give `live`, `disabled`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "disabled" if self.disabled else "live"


async def listing(tx: Tx, account_id: str | None, *, revoked: bool = False, limit: int = 100) -> list[KeyView]:
    """List keys, newest first, of an account or (None) of all; revoked ones only when asked for."""
    values: list[int | str] = [min(max(limit, 1), MAX_LISTED)]
    where = "1 = 1" if revoked else "revoked_at IS NULL"
    if account_id is not None:
        values.append(account_id)
        where += " AND owner_account_id = $2"
    sql = f"SELECT {_COLUMNS} FROM api_keys WHERE {where} ORDER BY created_at DESC, id LIMIT $1"
    return [_view(row) for row in await tx.fetch(sql, *values)]


class KeyActs:
    """What operators do to keys; raises NotFound, Conflict, StoreUnavailable."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    async def create(self, actor: str, who: str, settings: Mapping[str, Value]) -> MadeKey:
        """Make a key for an account, with settings that `parse_changes` read; the secret is in the result alone."""

        async def work(tx: Tx, now: int) -> Deed[MadeKey]:
            account_id = await accounts.resolve(tx, who)
            made = await api_keys.create(tx, account_id, settings, now)
            after = {"account_id": account_id, "label": made.key.label, **settings}
            return Deed(made, made.key.id, after=after)

        return await self._operator.act(actor, "key.create", work)

    async def revoke(self, actor: str, key: str) -> KeyView:
        """Kill a key, by its id or label."""

        async def work(tx: Tx, now: int) -> Deed[KeyView]:
            found = await _live(tx, key)
            await api_keys.revoke(tx, found.owner_account_id, found.id, now)
            return await _done(tx, found, "revoked", old=False, new=True)

        return await self._operator.act(actor, "key.revoke", work)

    async def set_disabled(self, actor: str, key: str, disabled: bool) -> KeyView:
        """Switch a key off or on, by its id or label."""

        async def work(tx: Tx, _now: int) -> Deed[KeyView]:
            found = await _live(tx, key)
            await api_keys.change(tx, found.owner_account_id, found.id, {"disabled": int(disabled)})
            return await _done(tx, found, "disabled", old=found.disabled, new=disabled)

        return await self._operator.act(actor, "key.disable" if disabled else "key.enable", work)


async def _live(tx: Tx, key: str) -> KeyView:
    sql = f"SELECT {_COLUMNS} FROM api_keys WHERE (id = $1 OR label = $1) AND revoked_at IS NULL LIMIT 3"
    found = [_view(row) for row in await tx.fetch(sql, key.strip())]
    if not found:
        # What was given may be a whole secret by mistake: it is not repeated.
        raise NotFound(
            "There is no live key with this id or label; `darkbloom-coordinator admin keys list` shows them."
        )
    if len(found) > 1:
        raise Conflict(f"Several keys have this label: {', '.join(one.id for one in found)}. Name one of these ids.")
    return found[0]


async def _done(tx: Tx, found: KeyView, what: str, *, old: bool, new: bool) -> Deed[KeyView]:
    row = await tx.row(f"SELECT {_COLUMNS} FROM api_keys WHERE id = $1", found.id)
    assert row is not None
    owner = {"account_id": found.owner_account_id}
    return Deed(_view(row), found.id, {what: old, **owner}, {what: new, **owner}, news=(("key", found.id),))


def _view(row: Row) -> KeyView:
    return KeyView(
        id=cast(str, row["id"]),
        owner_account_id=cast(str, row["owner_account_id"]),
        name=cast(str, row["name"]),
        label=cast(str, row["label"]),
        disabled=bool(row["disabled"]),
        limit_micro_usd=cast("int | None", row["limit_micro_usd"]),
        limit_reset=cast(str, row["limit_reset"]),
        expires_at=cast("int | None", row["expires_at"]),
        revoked_at=cast("int | None", row["revoked_at"]),
        created_at=cast(int, row["created_at"]),
        last_used_at=cast("int | None", row["last_used_at"]),
    )
