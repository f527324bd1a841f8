"""Browser sessions: the rows of `web_sessions`, found by the hash of a cookie that nobody but the browser has.

Invariant: a session is good while it is not revoked, younger than 90 days, and was seen in the last 14 days; one that
was opened with an API key is only as good as that key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from server.accounts.credentials import hash_of, new_opaque

if TYPE_CHECKING:
    from server.accounts.ports import SessionMode
    from server.accounts.use_notes import UseNotes
    from server.store import Row, Store, Tx

DAY: Final = 86_400 * 1_000_000
IDLE: Final = 14 * DAY
ABSOLUTE: Final = 90 * DAY
MAX_LIVE: Final = 50
ID_DIGITS: Final = 16
_COLUMNS: Final = "token_hash, account_id, mode, key_id, label, created_at, last_seen, expires_at"
_GOOD: Final = "revoked_at IS NULL AND expires_at > $2 AND last_seen > $3"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """A good session; times in microseconds."""

    token_hash: str = field(repr=False)
    account_id: str
    mode: SessionMode
    key_id: str
    label: str
    created_at: int
    last_seen: int
    expires_at: int

    @property
    def id(self) -> str:
        """What names the session in lists: the head of its hash, from which the cookie cannot be found."""
        return self.token_hash[:ID_DIGITS]


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session with its cookie value, which exists only in this answer."""

    cookie: str = field(repr=False)
    session: WebSession


async def insert(
    tx: Tx, account_id: str, mode: SessionMode, now: int, *, key_id: str = "", label: str = "", replaces: str = ""
) -> OpenedSession:
    """Open a session; the one that the browser had (`replaces`, a hash) ends, and so do the oldest above 50.

    The sessions of a key count by themselves: whoever has the key must not sign its owner out. What has ended is
    deleted, so that nobody fills the table by signing in again and again.
    """
    if replaces:
        await _end(tx, replaces, now)
    cookie = new_opaque()
    sql = (
        "INSERT INTO web_sessions (token_hash, account_id, mode, key_id, label, created_at, last_seen, expires_at) "
        f"VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING {_COLUMNS}"
    )
    row = await tx.row(sql, hash_of(cookie), account_id, mode, key_id, label, now, now + ABSOLUTE)
    assert row is not None
    await tx.execute(
        "DELETE FROM web_sessions WHERE account_id = $1 AND key_id = $3 AND token_hash NOT IN "
        "(SELECT token_hash FROM web_sessions WHERE account_id = $1 AND key_id = $3 AND revoked_at IS NULL "
        "ORDER BY created_at DESC, token_hash LIMIT $2)",
        account_id,
        MAX_LIVE,
        key_id,
    )
    return OpenedSession(cookie, _of(row))


async def end_all(tx: Tx, account_id: str, now: int) -> None:
    """End every session of an account."""
    await tx.execute(
        "UPDATE web_sessions SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL", account_id, now
    )


async def note_seen(tx: Tx, token_hash: str, at: int) -> None:
    """Note that a session is in use."""
    await tx.execute("UPDATE web_sessions SET last_seen = $2 WHERE token_hash = $1 AND last_seen < $2", token_hash, at)


class WebSessions:
    """Opens, finds, lists and ends sessions; raises StoreUnavailable. `wall_clock` gives microseconds."""

    def __init__(self, store: Store, *, uses: UseNotes, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._uses = uses
        self._wall_clock = wall_clock

    async def open(
        self, account_id: str, mode: SessionMode, *, key_id: str = "", label: str = "", replaces: str = ""
    ) -> OpenedSession:
        """Open a session and end the one that the browser had."""
        now = self._wall_clock()
        return await self._store.write(
            lambda tx: insert(tx, account_id, mode, now, key_id=key_id, label=label, replaces=replaces)
        )

    async def find(self, cookie: str) -> WebSession | None:
        """Find the good session of a cookie, and note that it is in use."""
        now = self._wall_clock()
        digest = hash_of(cookie)
        sql = f"SELECT {_COLUMNS} FROM web_sessions WHERE token_hash = $1 AND {_GOOD}"
        row = await self._store.read(lambda tx: tx.row(sql, digest, now, now - IDLE))
        if row is None:
            return None
        self._uses.note(digest, now)
        return _of(row)

    async def list(self, account_id: str) -> list[WebSession]:
        """List the good sessions of an account, newest first."""
        now = self._wall_clock()
        sql = (
            f"SELECT {_COLUMNS} FROM web_sessions WHERE account_id = $1 AND {_GOOD} "
            "ORDER BY created_at DESC, token_hash LIMIT $4"
        )
        rows = await self._store.read(lambda tx: tx.fetch(sql, account_id, now, now - IDLE, MAX_LIVE))
        return [_of(row) for row in rows]

    async def end(self, token_hash: str) -> None:
        """End one session; one that has ended stays so."""
        now = self._wall_clock()
        await self._store.write(lambda tx: _end(tx, token_hash, now))

    async def end_by_id(self, account_id: str, session_id: str) -> bool:
        """End a session of an account by its id; False when there is none."""
        now = self._wall_clock()
        sql = (
            "UPDATE web_sessions SET revoked_at = $3 WHERE account_id = $1 AND substr(token_hash, 1, 16) = $2 "
            "AND revoked_at IS NULL"
        )
        return await self._store.write(lambda tx: tx.execute(sql, account_id, session_id, now)) > 0


async def _end(tx: Tx, token_hash: str, now: int) -> None:
    await tx.execute(
        "UPDATE web_sessions SET revoked_at = $2 WHERE token_hash = $1 AND revoked_at IS NULL", token_hash, now
    )


def _of(row: Row) -> WebSession:
    return WebSession(
        token_hash=cast(str, row["token_hash"]),
        account_id=cast(str, row["account_id"]),
        mode=cast("SessionMode", row["mode"]),
        key_id=cast(str, row["key_id"]),
        label=cast(str, row["label"]),
        created_at=cast(int, row["created_at"]),
        last_seen=cast(int, row["last_seen"]),
        expires_at=cast(int, row["expires_at"]),
    )
