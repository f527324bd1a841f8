"""Invite codes: credits for whoever names one, so many times in all and once for each account.

Invariant: a redemption's row, the count of uses and the credit are one transaction; a code's uses never pass its limit.
Lock order: the code's row, then the ledger's.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.billing.amounts import MAX_MONEY
from server.billing.ledger import GRANTS, Entry, post, read_balance
from server.store.errors import Conflict, Invalid

if TYPE_CHECKING:
    from server.store import Row, Store, Tx

PREFIX: Final = "INV-"
MAX_USES: Final = 1_000_000
MAX_TEXT: Final = 64
MAX_LISTED: Final = 1000
_RANDOM_BYTES: Final = 10
_CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9-]{1,62}[A-Z0-9]", re.ASCII)
_COLUMNS: Final = "code, amount_micro_usd, max_uses, used_count, active, expires_at, created_at"

Refused: TypeAlias = Literal["unknown", "inactive", "expired", "used_up", "redeemed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """One code; micro-USD, microseconds."""

    code: str
    amount: int
    max_uses: int
    used_count: int
    active: bool
    expires_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeemed:
    """What a redemption gave, and the free balance after it; micro-USD."""

    amount: int
    balance: int


def normal_code(text: str) -> str | None:
    """Give a code as it is stored: 3 to 64 of `A-Z0-9-` without a hyphen at either end; None when it is none."""
    code = text.strip().upper() if len(text) <= MAX_TEXT else ""
    return code if _CODE.fullmatch(code) else None


def new_code() -> str:
    """Make a code that cannot be guessed: 80 random bits in 16 characters."""
    return PREFIX + base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode()


class Invites:
    """The codes over the store; `wall_clock` gives microseconds."""

    def __init__(self, store: Store, *, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._wall_clock = wall_clock

    async def create(
        self, *, amount: int, code: str | None = None, max_uses: int = 1, expires_at: int | None = None
    ) -> Invite:
        """Make a code, a random one unless it is given. Raises Invalid, and Conflict for a code that exists."""
        now = self._wall_clock()
        if not 0 < amount <= MAX_MONEY or not 1 <= max_uses <= MAX_USES:
            raise Invalid(f"An invite needs a positive amount and 1 to {MAX_USES} uses.")
        if expires_at is not None and expires_at <= now:
            raise Invalid("An invite cannot end in the past; give a later expires_at.")
        wanted = new_code() if code is None else normal_code(code)
        if wanted is None:
            raise Invalid("An invite code is 3 to 64 letters, digits or hyphens, without a hyphen at either end.")

        async def insert(tx: Tx) -> Row | None:
            return await tx.row(
                "INSERT INTO invite_codes (code, amount_micro_usd, max_uses, expires_at, created_at)"
                f" VALUES ($1, $2, $3, $4, $5) ON CONFLICT (code) DO NOTHING RETURNING {_COLUMNS}",
                wanted,
                amount,
                max_uses,
                expires_at,
                now,
            )

        row = await self._store.write(insert)
        if row is None:
            raise Conflict("There is an invite with this code already; choose another one.")
        return _invite(row)

    async def list(self) -> list[Invite]:
        """List the newest codes, at most 1,000."""

        async def read(tx: Tx) -> list[Invite]:
            rows = await tx.fetch(
                f"SELECT {_COLUMNS} FROM invite_codes ORDER BY created_at DESC, code LIMIT $1", MAX_LISTED
            )
            return [_invite(row) for row in rows]

        return await self._store.read(read)

    async def deactivate(self, text: str) -> bool:
        """Switch a code off for good; False when there is none. What was redeemed stays."""
        code = normal_code(text)
        if code is None:
            return False
        sql = "UPDATE invite_codes SET active = 0 WHERE code = $1"
        return await self._store.write(lambda tx: tx.execute(sql, code)) == 1

    async def redeem(self, account_id: str, text: str) -> Redeemed | Refused:
        """Credit an account with a code's amount, once for each account."""
        code = normal_code(text)
        if code is None:
            return "unknown"
        now = self._wall_clock()
        return await self._store.write(lambda tx: _redeem(tx, account_id, code, now))


async def _redeem(tx: Tx, account_id: str, code: str, now: int) -> Redeemed | Refused:
    row = await tx.row(f"SELECT {_COLUMNS} FROM invite_codes WHERE code = $1@LOCK", code)
    if row is None:
        return "unknown"
    invite = _invite(row)
    before = await tx.row(
        "SELECT created_at FROM invite_redemptions WHERE code = $1 AND account_id = $2", code, account_id
    )
    if before is not None:
        return "redeemed"
    if not invite.active:
        return "inactive"
    if invite.expires_at is not None and invite.expires_at <= now:
        return "expired"
    if invite.used_count >= invite.max_uses:
        return "used_up"
    await tx.execute(
        "INSERT INTO invite_redemptions (code, account_id, created_at) VALUES ($1, $2, $3)", code, account_id, now
    )
    counted = await tx.execute(
        "UPDATE invite_codes SET used_count = used_count + 1 WHERE code = $1 AND used_count < max_uses", code
    )
    entries = [
        Entry(GRANTS, "invite_credit", -invite.amount),
        Entry(account_id, "invite_credit", invite.amount),
    ]
    if counted != 1 or await post(tx, "invite", f"invite:{code}:{account_id}", entries, now) is None:
        raise Invalid("An invite was counted or credited without its redemption; check the ledger.")
    balance = await read_balance(tx, account_id)
    return Redeemed(amount=invite.amount, balance=balance.free)


def _invite(row: Row) -> Invite:
    return Invite(
        code=cast(str, row["code"]),
        amount=cast(int, row["amount_micro_usd"]),
        max_uses=cast(int, row["max_uses"]),
        used_count=cast(int, row["used_count"]),
        active=bool(row["active"]),
        expires_at=cast("int | None", row["expires_at"]),
        created_at=cast(int, row["created_at"]),
    )
