"""Linking a machine to an account (after RFC 8628): the machine asks, the person approves, the machine collects once.

Invariant: `pending → approved → consumed`, `pending → denied`, and time ends all. Every transition is one guarded
update; approved → consumed and the new token are one transaction, so one approval makes one token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.accounts import provider_tokens
from server.accounts.credentials import HEX_64, hash_of, new_opaque, new_provider_token
from server.accounts.user_code import new_user_code, normal_user_code
from server.store import Conflict

if TYPE_CHECKING:
    from server.store import Row, Store, Tx

SECOND: Final = 1_000_000
LIVES_SECONDS: Final = 900
INTERVAL_SECONDS: Final = 5
TOLERANCE: Final = SECOND
"""How much earlier than agreed a poll may come: clocks and networks are not exact."""

KEPT_AFTER: Final = 3600 * SECOND
SWEEP_SECONDS: Final = 300
CODE_TRIES: Final = 5
SWEEP_ROWS: Final = 5000
LABEL_CHARACTERS: Final = 64

PollRefusal: TypeAlias = Literal[
    "authorization_pending", "slow_down", "access_denied", "expired_token", "invalid_grant"
]
Decision: TypeAlias = Literal["done", "invalid_code", "already_used", "expired_code"]


@dataclass(frozen=True, slots=True)
class StartedLogin:
    """What the machine gets: a secret to poll with, and a code for the person."""

    device_code: str = field(repr=False)
    user_code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkedMachine:
    """The answer to the one poll that collects."""

    token: str = field(repr=False)
    account_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLogin:
    """What the approval page shows; times in microseconds."""

    user_code: str = field(repr=False)
    client_label: str
    chip: str
    region: str
    created_at: int
    expires_at: int


def printable(text: object, limit: int = LABEL_CHARACTERS) -> str:
    """Give what may be shown of a text that a stranger sent: its printable characters, at most 64."""
    if not isinstance(text, str):
        return ""
    return "".join(character for character in text[: 4 * limit] if character.isprintable())[:limit].strip()


class DeviceLogin:
    """The state machine over `device_codes`. `wall_clock` gives microseconds; raises StoreUnavailable."""

    def __init__(self, store: Store, *, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._wall_clock = wall_clock

    async def start(self, *, client_label: str = "", chip: str = "", region: str = "") -> StartedLogin:
        """Begin a login; raises Conflict if five random user codes in a row are taken."""
        device_code = new_opaque()
        now = self._wall_clock()
        sql = (
            "INSERT INTO device_codes (device_code_hash, user_code, status, client_label, chip, region, expires_at, "
            "created_at) VALUES ($1, $2, 'pending', $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
        )

        async def work(tx: Tx) -> str:
            digest = hash_of(device_code)
            for _ in range(CODE_TRIES):
                user_code = new_user_code()
                expires_at = now + LIVES_SECONDS * SECOND
                if await tx.execute(sql, digest, user_code, client_label, chip, region, expires_at, now):
                    return user_code
                # Run again, because the answer to its COMMIT was lost, this finds its own row.
                own = await tx.value("SELECT user_code FROM device_codes WHERE device_code_hash = $1", digest)
                if own is not None:
                    return cast(str, own)
            raise Conflict("No free code was found; try again.")

        return StartedLogin(device_code, await self._store.write(work))

    async def poll(self, device_code: str) -> LinkedMachine | PollRefusal:
        """Answer a machine: its token, once, or why not (yet)."""
        if HEX_64.fullmatch(device_code) is None:
            return "invalid_grant"
        digest = hash_of(device_code)
        now, token = self._wall_clock(), new_provider_token()
        return await self._store.write(lambda tx: _poll(tx, digest, now, token))

    async def pending(self, typed: str) -> PendingLogin | Decision:
        """Give what a typed code stands for, before anything is decided."""
        code = normal_user_code(typed)
        now = self._wall_clock()
        if code is None:
            return "invalid_code"
        row = await self._store.read(lambda tx: _by_user_code(tx, code))
        problem = _problem(row, now)
        if problem is not None or row is None:
            return problem or "invalid_code"
        return PendingLogin(
            user_code=code,
            client_label=cast(str, row["client_label"]),
            chip=cast(str, row["chip"]),
            region=cast(str, row["region"]),
            created_at=cast(int, row["created_at"]),
            expires_at=cast(int, row["expires_at"]),
        )

    async def approve(self, typed: str, account_id: str) -> Decision:
        """Let the machine with this code link itself to an account."""
        return await self._decide(typed, "approved", account_id)

    async def deny(self, typed: str) -> Decision:
        """Turn the machine with this code away."""
        return await self._decide(typed, "denied", "")

    async def sweep(self) -> int:
        """Delete at most 5,000 codes that ended over an hour ago; until then a late poll learns that it is late."""
        before = self._wall_clock() - KEPT_AFTER
        sql = (
            "DELETE FROM device_codes WHERE device_code_hash IN "
            "(SELECT device_code_hash FROM device_codes WHERE expires_at < $1 LIMIT $2)"
        )
        return await self._store.write(lambda tx: tx.execute(sql, before, SWEEP_ROWS))

    async def _decide(self, typed: str, status: Literal["approved", "denied"], account_id: str) -> Decision:
        code = normal_user_code(typed)
        if code is None:
            return "invalid_code"
        now = self._wall_clock()

        async def work(tx: Tx) -> Decision:
            changed = await tx.execute(
                "UPDATE device_codes SET status = $2, account_id = $3, decided_at = $4 "
                "WHERE user_code = $1 AND status = 'pending' AND expires_at > $4",
                code,
                status,
                account_id,
                now,
            )
            if changed:
                return "done"
            return _problem(await _by_user_code(tx, code), now) or "already_used"

        return await self._store.write(work)


async def _poll(tx: Tx, digest: str, now: int, token: str) -> LinkedMachine | PollRefusal:
    """`token` is what an approved machine gets. It is made outside, so that a transaction which is run again, because
    the answer to its COMMIT was lost, gives the token that is stored.
    """
    row = await tx.row(
        "SELECT user_code, account_id, status, last_polled_at, expires_at FROM device_codes "
        "WHERE device_code_hash = $1@LOCK",
        digest,
    )
    if row is None:
        return "invalid_grant"
    if row["status"] == "consumed":
        account_id = await provider_tokens.owner_of(tx, token)
        return "invalid_grant" if account_id is None else LinkedMachine(token, account_id)
    if cast(int, row["expires_at"]) <= now:
        return "expired_token"
    if row["status"] == "denied":
        return "access_denied"
    if row["status"] == "pending":
        return await _wait(tx, digest, cast("int | None", row["last_polled_at"]), now)
    sql = "UPDATE device_codes SET status = 'consumed' WHERE device_code_hash = $1 AND status = 'approved'"
    if not await tx.execute(sql, digest):
        return "invalid_grant"
    account_id = cast(str, row["account_id"])
    await provider_tokens.insert(tx, account_id, f"device-{cast(str, row['user_code'])}", now, token)
    return LinkedMachine(token, account_id)


async def _wait(tx: Tx, digest: str, last: int | None, now: int) -> PollRefusal:
    if last is not None and now - last < INTERVAL_SECONDS * SECOND - TOLERANCE:
        return "slow_down"
    await tx.execute("UPDATE device_codes SET last_polled_at = $2 WHERE device_code_hash = $1", digest, now)
    return "authorization_pending"


async def _by_user_code(tx: Tx, code: str) -> Row | None:
    return await tx.row(
        "SELECT status, client_label, chip, region, created_at, expires_at FROM device_codes WHERE user_code = $1", code
    )


def _problem(row: Row | None, now: int) -> Decision | None:
    if row is None:
        return "invalid_code"
    if row["status"] != "pending":
        return "already_used"
    return "expired_code" if cast(int, row["expires_at"]) <= now else None
