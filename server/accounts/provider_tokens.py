"""Tokens with which machines say whose they are: rows, and a book of live connections that were made with them.

Invariant: when `revoke` has returned, no live connection of this process is linked by that token, and none becomes so:
a lookup that began before the revocation is made again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from server.accounts.credentials import PROVIDER_TOKEN_PREFIX, hash_of, new_provider_token

if TYPE_CHECKING:
    from server.accounts.changes import Changes
    from server.accounts.use_notes import UseNotes
    from server.store import Row, Store, Tx

_log = logging.getLogger("darkbloom.accounts")

MAX_TOKEN_CHARACTERS: Final = 4096
MAX_LISTED: Final = 200
ID_DIGITS: Final = 16
RECHECKED_AT_ONCE: Final = 200
_TOKEN: Final = re.compile(re.escape(PROVIDER_TOKEN_PREFIX) + r"[0-9a-f]{64}", re.ASCII)
_COLUMNS: Final = "token_hash, account_id, label, active, created_at, last_used_at, revoked_at"

OnRevoked = Callable[[str], None]
"""Called with the id of a live session whose token was revoked: take its account away, and tell the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderToken:
    """A token as stored; times in microseconds."""

    token_hash: str = field(repr=False)
    account_id: str
    label: str
    active: bool
    created_at: int
    last_used_at: int | None
    revoked_at: int | None

    @property
    def id(self) -> str:
        """What names the token in lists: the head of its hash."""
        return self.token_hash[:ID_DIGITS]


async def insert(tx: Tx, account_id: str, label: str, now: int, secret: str | None = None) -> str:
    """Make a token and give its secret, which is shown this one time; a new one unless it is given."""
    secret = secret or new_provider_token()
    sql = "INSERT INTO provider_tokens (token_hash, account_id, label, created_at) VALUES ($1, $2, $3, $4)"
    await tx.execute(sql, hash_of(secret), account_id, label, now)
    return secret


async def owner_of(tx: Tx, token: str) -> str | None:
    """Give the account of an active token, else None."""
    sql = "SELECT account_id FROM provider_tokens WHERE token_hash = $1 AND active = 1"
    return cast("str | None", await tx.value(sql, hash_of(token)))


async def linked_account(tx: Tx, token: str) -> str | None:
    """Give the account to which an active token links a machine; None while the account is suspended."""
    sql = (
        "SELECT t.account_id FROM provider_tokens t LEFT JOIN users u ON u.account_id = t.account_id "
        "WHERE t.token_hash = $1 AND t.active = 1 AND u.suspended_at IS NULL"
    )
    return cast("str | None", await tx.value(sql, hash_of(token)))


async def note_used(tx: Tx, token_hash: str, at: int) -> None:
    """Note the last use of a token."""
    sql = (
        "UPDATE provider_tokens SET last_used_at = $2 "
        "WHERE token_hash = $1 AND (last_used_at IS NULL OR last_used_at < $2)"
    )
    await tx.execute(sql, token_hash, at)


class ProviderTokens:
    """Resolves, lists and revokes tokens. `wall_clock` gives microseconds; raises StoreUnavailable."""

    def __init__(
        self, store: Store, *, changes: Changes, uses: UseNotes, book: TokenBook, wall_clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._changes = changes
        self._uses = uses
        self._book = book
        self._wall_clock = wall_clock
        changes.listen("provider_token", book.revoked)

    async def account_of(self, token: str) -> str | None:
        """Give the account of a valid token, else None. Fits the provider link's `resolve_account`."""
        if not token.startswith(PROVIDER_TOKEN_PREFIX) or len(token) > MAX_TOKEN_CHARACTERS:
            return None
        account_id = await self._store.read(lambda tx: linked_account(tx, token))
        if account_id is not None:
            self._uses.note(hash_of(token), self._wall_clock())
        return account_id

    async def link(self, session_id: str, token: str) -> str | None:
        """Give the account of a live session's token and enter the session in the book; None leaves it unlinked."""
        digest = hash_of(token)
        while True:
            generation = self._book.generation
            account_id = await self.account_of(token)
            if account_id is None:
                return None
            if generation == self._book.generation:
                self._book.enter(session_id, digest)
                return account_id

    async def list(self, account_id: str) -> list[ProviderToken]:
        """List the tokens of an account, newest first, revoked ones too; at most 200."""
        sql = (
            f"SELECT {_COLUMNS} FROM provider_tokens WHERE account_id = $1 "
            "ORDER BY active DESC, created_at DESC, token_hash LIMIT $2"
        )
        return [_of(row) for row in await self._store.read(lambda tx: tx.fetch(sql, account_id, MAX_LISTED))]

    async def has_any(self, account_id: str) -> bool:
        """Whether the account has a token that is valid."""
        sql = "SELECT 1 AS found FROM provider_tokens WHERE account_id = $1 AND active = 1 LIMIT 1"
        return await self._store.read(lambda tx: tx.row(sql, account_id)) is not None

    async def revoke(self, token: str) -> bool:
        """Revoke the token that is shown; False for an unknown or revoked one, which costs a read at most."""
        if _TOKEN.fullmatch(token) is None or await self._store.read(lambda tx: owner_of(tx, token)) is None:
            return False
        return await self._revoke("token_hash = $1", hash_of(token)) > 0

    async def revoke_by_id(self, account_id: str, token_id: str) -> bool:
        """Revoke a token of an account by its id; False when there is none."""
        return await self._revoke("account_id = $1 AND substr(token_hash, 1, 16) = $3", account_id, token_id) > 0

    async def recheck(self) -> None:
        """Unlink live sessions whose token was revoked, or its account suspended, without our hearing of it."""
        linking = self._book.tokens()
        for start in range(0, len(linking), RECHECKED_AT_ONCE):
            part = linking[start : start + RECHECKED_AT_ONCE]
            places = ", ".join(f"${number}" for number in range(1, len(part) + 1))
            sql = (
                "SELECT t.token_hash FROM provider_tokens t LEFT JOIN users u ON u.account_id = t.account_id "
                f"WHERE (t.active = 0 OR u.suspended_at IS NOT NULL) AND t.token_hash IN ({places})"
            )
            for row in await self._store.read(_fetching(sql, part)):
                self._book.revoked(cast(str, row["token_hash"]))

    async def _revoke(self, which: str, *subjects: str) -> int:
        now = self._wall_clock()

        async def work(tx: Tx) -> list[str]:
            rows = await tx.fetch(
                f"UPDATE provider_tokens SET active = 0, revoked_at = $2 WHERE {which} AND active = 1 "
                "RETURNING token_hash",
                subjects[0],
                now,
                *subjects[1:],
            )
            hashes = [cast(str, row["token_hash"]) for row in rows]
            for digest in hashes:
                await self._changes.announce(tx, "provider_token", digest)
            return hashes

        try:
            revoked = await self._store.write(work)
        except BaseException:
            # The answer of the database did not arrive: lookups under way are made again.
            self._book.turn()
            raise
        # What revoked nothing turns no page: otherwise anybody could keep lookups from ever ending.
        for digest in revoked:
            self._book.revoked(digest)
        return len(revoked)


class TokenBook:
    """Which live sessions are linked by which token. `on_revoked` must not raise and not block."""

    def __init__(self, on_revoked: OnRevoked | None = None) -> None:
        self.on_revoked = on_revoked
        self._sessions: dict[str, set[str]] = {}
        self._tokens: dict[str, str] = {}
        self._generation = 0

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def generation(self) -> int:
        """Grows with every revocation, here or in another process."""
        return self._generation

    def tokens(self) -> list[str]:
        """List the hashes of all tokens that link a live session."""
        return sorted(self._sessions)

    def turn(self) -> None:
        """Have every lookup that is under way made again."""
        self._generation += 1

    def enter(self, session_id: str, token_hash: str) -> None:
        """Note that a live session is linked by a token."""
        self.leave(session_id)
        self._tokens[session_id] = token_hash
        self._sessions.setdefault(token_hash, set()).add(session_id)

    def leave(self, session_id: str) -> None:
        """Forget a session: it ended."""
        digest = self._tokens.pop(session_id, None)
        if digest is not None:
            sessions = self._sessions[digest]
            sessions.discard(session_id)
            if not sessions:
                del self._sessions[digest]

    def revoked(self, token_hash: str) -> None:
        """Unlink the live sessions of a token; `*` says that news were lost, which only turns the book's page."""
        self.turn()
        for session_id in sorted(self._sessions.get(token_hash, ())):
            self.leave(session_id)
            if self.on_revoked is not None:
                self.on_revoked(session_id)


def _fetching(sql: str, arguments: list[str]) -> Callable[[Tx], Awaitable[list[Row]]]:
    return lambda tx: tx.fetch(sql, *arguments)


def _of(row: Row) -> ProviderToken:
    return ProviderToken(
        token_hash=cast(str, row["token_hash"]),
        account_id=cast(str, row["account_id"]),
        label=cast(str, row["label"]),
        active=bool(row["active"]),
        created_at=cast(int, row["created_at"]),
        last_used_at=cast("int | None", row["last_used_at"]),
        revoked_at=cast("int | None", row["revoked_at"]),
    )
