"""Referral codes: one for each account that wants one, and who came by which.

Invariant: an account has at most one code and at most one referrer, for ever; nobody refers himself. The reward itself
is part of the settlement of each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.billing.ledger import read_balance
from server.store.errors import Conflict, Invalid

if TYPE_CHECKING:
    from server.store import Store, Tx

_CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9-]{1,18}[A-Z0-9]", re.ASCII)
MAX_TEXT: Final = 64

Binding: TypeAlias = Literal["applied", "unknown", "own", "other"]
"""How binding an account to a code ended; `other`: it has another referrer already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferralStats:
    """What a code brought; micro-USD. `balance` is the account's free balance."""

    code: str
    referred: int
    rewards: int
    balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferralInfo:
    """An account's own code and the one that it came by; empty where there is none."""

    code: str
    referred_by: str


def normal_code(text: str) -> str | None:
    """Give a code as it is stored: 3 to 20 of `A-Z0-9-` without a hyphen at either end; None when it is none."""
    code = text.strip().upper() if len(text) <= MAX_TEXT else ""
    return code if _CODE.fullmatch(code) else None


class Referrals:
    """The codes over the store. `share_percent` of the platform's fee is the reward; `wall_clock` is microseconds."""

    def __init__(self, store: Store, *, share_percent: int, wall_clock: Callable[[], int]) -> None:
        self._store = store
        self._wall_clock = wall_clock
        self.share_percent = share_percent

    async def register(self, account_id: str, text: str) -> str:
        """Give the account's code: the wanted one, or the one that it has already.

        Raises Invalid for a text that can be no code, and Conflict for the code of somebody else.
        """
        code = normal_code(text)
        if code is None:
            raise Invalid("A referral code is 3 to 20 letters, digits or hyphens, without a hyphen at either end.")
        now = self._wall_clock()
        return await self._store.write(lambda tx: _register(tx, account_id, code, now))

    async def bind(self, account_id: str, text: str) -> Binding:
        """Note by whose code an account came; the same code again is fine."""
        code = normal_code(text)
        if code is None:
            return "unknown"
        now = self._wall_clock()
        return await self._store.write(lambda tx: _bind(tx, account_id, code, now))

    async def is_known(self, code: str) -> bool:
        """Whether somebody registered a code."""
        wanted = normal_code(code)
        return wanted is not None and await self._store.read(lambda tx: _owner(tx, wanted)) is not None

    async def apply(self, account_id: str, code: str) -> None:
        """Bind an account to a code; own, wrong and second codes change nothing."""
        await self.bind(account_id, code)

    async def stats(self, account_id: str) -> ReferralStats | None:
        """Give what the account's code brought; None without a code."""
        return await self._store.read(lambda tx: _stats(tx, account_id))

    async def info(self, account_id: str) -> ReferralInfo | None:
        """Give the account's two codes; None when it has neither."""
        return await self._store.read(lambda tx: _info(tx, account_id))


async def _register(tx: Tx, account_id: str, code: str, now: int) -> str:
    existing = await _code_of(tx, account_id)
    if existing is not None:
        return existing
    row = await tx.row(
        "INSERT INTO referrers (account_id, code, created_at) VALUES ($1, $2, $3)"
        " ON CONFLICT DO NOTHING RETURNING code",
        account_id,
        code,
        now,
    )
    if row is not None:
        return code
    # Either the code is somebody's, or this account has just registered one elsewhere.
    existing = await _code_of(tx, account_id)
    if existing is None:
        raise Conflict("This referral code is taken; choose another one.")
    return existing


async def _bind(tx: Tx, account_id: str, code: str, now: int) -> Binding:
    owner = await _owner(tx, code)
    if owner is None:
        return "unknown"
    if owner == account_id:
        return "own"
    await tx.execute(
        "INSERT INTO referrals (referred_account, referrer_code, created_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (referred_account) DO NOTHING",
        account_id,
        code,
        now,
    )
    return "applied" if await _referred_by(tx, account_id) == code else "other"


async def _stats(tx: Tx, account_id: str) -> ReferralStats | None:
    code = await _code_of(tx, account_id)
    if code is None:
        return None
    referred = await tx.value("SELECT COUNT(*) FROM referrals WHERE referrer_code = $1", code)
    rewards = await tx.value(
        "SELECT CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) FROM ledger_entries"
        " WHERE account_id = $1 AND entry_type = 'referral_reward'",
        account_id,
    )
    balance = await read_balance(tx, account_id)
    return ReferralStats(code=code, referred=cast(int, referred), rewards=cast(int, rewards), balance=balance.free)


async def _info(tx: Tx, account_id: str) -> ReferralInfo | None:
    code, referred_by = await _code_of(tx, account_id), await _referred_by(tx, account_id)
    if code is None and referred_by is None:
        return None
    return ReferralInfo(code=code or "", referred_by=referred_by or "")


async def _owner(tx: Tx, code: str) -> str | None:
    return cast("str | None", await tx.value("SELECT account_id FROM referrers WHERE code = $1", code))


async def _code_of(tx: Tx, account_id: str) -> str | None:
    return cast("str | None", await tx.value("SELECT code FROM referrers WHERE account_id = $1", account_id))


async def _referred_by(tx: Tx, account_id: str) -> str | None:
    sql = "SELECT referrer_code FROM referrals WHERE referred_account = $1"
    return cast("str | None", await tx.value(sql, account_id))
