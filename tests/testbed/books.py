"""A store with short hands for money: fund accounts, hold, settle, look, and audit."""

from __future__ import annotations

import itertools
from typing import cast

from server.billing import holds
from server.billing.balance import Balance
from server.billing.key_spend import KeyCap
from server.billing.ledger import GRANTS, Entry, post, read_balance
from server.billing.prices import Tariff, Tokens
from server.billing.settle import Bill, Settled, settle
from server.billing.verify import verify
from server.store.engine import Row, Store

START = 1_784_109_600_000_000
"""Wednesday 2026-07-15 10:00 UTC in microseconds."""

MINUTE = 60_000_000
LIFETIME = 15 * MINUTE


class Books:
    """Amounts in micro-USD; `now` is the wall clock and moves only when a test moves it."""

    def __init__(self, store: Store, *, tariff: Tariff | None = None) -> None:
        self.store = store
        self.tariff = tariff or Tariff()
        self.now = START
        self._count = itertools.count()

    async def grant(self, account: str, credit: int = 0, earned: int = 0) -> None:
        """Give an account credits and earnings."""
        for kind, amount, part in (("admin_credit", credit, 0), ("admin_reward", earned, earned)):
            if amount:
                entries = [Entry(GRANTS, kind, -amount), Entry(account, kind, amount, part)]
                reference = f"test:{account}:{next(self._count)}"
                await self.store.write(lambda tx, e=entries, r=reference: post(tx, "admin", r, e, self.now))  # type: ignore[misc]

    async def user(self, account: str, *, fee: int | None = None, role: str = "") -> None:
        """Make a person's row, with a platform fee of its own or without."""
        await self.run(
            "INSERT INTO users (account_id, privy_user_id, role, platform_fee_percent, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $5)",
            account,
            f"did:{account}",
            role,
            fee,
            self.now,
        )

    async def refer(self, consumer: str, referrer: str) -> None:
        """Link a consumer to the account that brought him."""
        code = f"CODE-{referrer}".upper()
        await self.run(
            "INSERT INTO referrers (account_id, code, created_at) VALUES ($1, $2, $3)"
            " ON CONFLICT (account_id) DO NOTHING",
            referrer,
            code,
            self.now,
        )
        await self.run(
            "INSERT INTO referrals (referred_account, referrer_code, created_at) VALUES ($1, $2, $3)",
            consumer,
            code,
            self.now,
        )

    async def hold(self, request: str, account: str, amount: int, *, key: str = "", cap: KeyCap | None = None) -> None:
        """Take a hold for 15 minutes."""
        await self.store.write(
            lambda tx: holds.hold(
                tx,
                request_id=request,
                account_id=account,
                amount=amount,
                now=self.now,
                expires_at=self.now + LIFETIME,
                key_id=key,
                cap=cap,
            )
        )

    async def settle(self, request: str, account: str, cost: int, **more: object) -> Settled:
        """Settle against the hold, unless `funding` says otherwise."""
        bill = Bill(
            **{  # type: ignore[arg-type]
                "request_id": request,
                "account_id": account,
                "funding": "hold",
                "cost": cost,
                "tokens": Tokens(10, 0, 5),
                "model": "build",
                "public_model": "model",
                "provider_key": "key",
                "provider_id": "machine",
            }
            | more
        )
        return await self.store.write(lambda tx: settle(tx, bill, self.tariff, self.now))

    async def release(self, request: str) -> bool:
        """Give a hold back."""
        return await self.store.write(lambda tx: holds.release(tx, request, "unused", self.now))

    async def balance(self, account: str) -> Balance:
        """Read a balance."""
        return await self.store.read(lambda tx: read_balance(tx, account))

    async def rows(self, sql: str, *values: int | str | None) -> list[dict[str, object]]:
        """Read rows as plain dicts."""
        found: list[Row] = await self.store.read(lambda tx: tx.fetch(sql, *values))
        return [dict(row) for row in found]

    async def run(self, sql: str, *values: int | str | None) -> None:
        """Run one statement in a transaction."""
        await self.store.write(lambda tx: tx.execute(sql, *values))

    async def entries(self, account: str | None = None) -> list[tuple[str, str, int, int]]:
        """All ledger entries in order, as (account, type, amount, earned part)."""
        found = await self.rows(
            "SELECT account_id, entry_type, amount_micro_usd, withdrawable_delta_micro_usd FROM ledger_entries"
            " ORDER BY id"
        )
        lines = [cast("tuple[str, str, int, int]", tuple(row.values())) for row in found]
        return [line for line in lines if account in (None, line[0])]

    async def problems(self) -> list[str]:
        """What an audit of the books finds."""
        report = await self.store.read(lambda tx: verify(tx))
        return [str(problem) for problem in report.problems]
