"""The hourly look at withdrawals that are not where they should be: repeat with the same keys, heal, or tell a person.

Invariant: nothing is repeated later than 23 hours after it began, because Stripe forgets keys after 24; the reconciler
itself never gives money back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import trio

from server.payments.account_status import payout_interval
from server.payments.failures import StripeFailure
from server.payments.review_rows import payouts_in_doubt, pending_rows, transferred_rows
from server.payments.withdrawal_rows import Withdrawal, ask_for_review, count_attempt, read_withdrawal
from server.store import StoreError
from server.store.named_locks import run_under_lock

if TYPE_CHECKING:
    from server.payments.alerts import Alerts
    from server.payments.payee_accounts import PayeeAccounts
    from server.payments.stripe_objects import Account
    from server.payments.withdrawal_steps import WithdrawalSteps
    from server.store import Store

_log = logging.getLogger("darkbloom.payments")

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 60 * _MINUTE_US
SETTLED_AFTER_US: Final = 15 * _MINUTE_US
"""A row this old is no longer in the hands of the request that made it."""

KEY_LIFE_US: Final = 23 * _HOUR_US
LATE_US: Final = 48 * _HOUR_US
LATE_WEEKLY_US: Final = 10 * 24 * _HOUR_US
FIRST_LOOK_SECONDS: Final = 60
LOOK_EVERY_SECONDS: Final = 3600
LOCK_SECONDS: Final = 300
MAX_PENDING: Final = 100
MAX_PAYOUTS: Final = 40
MAX_TRANSFERRED: Final = 60
"""At most 200 rows a run; what is left over comes first in the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerReport:
    """What one run did."""

    repeated: int
    payouts_repeated: int
    flagged: int
    looked_at: int


class Reconciler:
    """Runs one look at a time; `clock` gives microseconds."""

    def __init__(
        self,
        *,
        store: Store,
        steps: WithdrawalSteps,
        accounts: PayeeAccounts,
        alerts: Alerts,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._steps = steps
        self._accounts = accounts
        self._alerts = alerts
        self._clock = clock
        self._cursor = (0, "")

    async def run_once(self) -> ReconcilerReport:
        """Look once; raises StoreError. Failures of Stripe end the work on one row only."""
        settled = self._clock() - SETTLED_AFTER_US
        pending = await self._store.read(lambda tx: pending_rows(tx, before=settled, limit=MAX_PENDING))
        repeated = flagged = payouts = 0
        for row in pending:
            if await self._is_over(row):
                flagged += 1
            elif await self._repeat_transfer(row):
                repeated += 1
        doubted = await self._store.read(lambda tx: payouts_in_doubt(tx, before=settled, limit=MAX_PAYOUTS))
        for row in doubted:
            if await self._is_over(row):
                flagged += 1
            else:
                await self._steps.instant_payout(row, doubt=True)
                payouts += 1
        late = await self._next_transferred(settled)
        flagged += await self._look_at_late(late)
        return ReconcilerReport(
            repeated=repeated,
            payouts_repeated=payouts,
            flagged=flagged,
            looked_at=len(pending) + len(doubted) + len(late),
        )

    async def _is_over(self, row: Withdrawal) -> bool:
        """Hand a row that is too old to be repeated to a person."""
        if self._clock() - row.created_at < KEY_LIFE_US:
            return False
        if await self._store.write(lambda tx: ask_for_review(tx, row.id, row.status)):
            self._alerts("withdrawal_needs_review", withdrawal_id=row.id, account_id=row.account_id, status=row.status)
        return True

    async def _repeat_transfer(self, row: Withdrawal) -> bool:
        now = self._clock()
        if not await self._store.write(lambda tx: count_attempt(tx, row.id, now)):
            return False
        if await self._steps.transfer(row, doubt=True) and row.method == "instant":
            current = await self._store.read(lambda tx: read_withdrawal(tx, row.id))
            if current is not None and current.status == "transferred":
                # No payout was tried before the transfer was known to be done.
                await self._steps.instant_payout(current, doubt=False)
        return True

    async def _next_transferred(self, before: int) -> list[Withdrawal]:
        """Return the next rows of a round through all that are transferred, so that none is starved."""
        cursor = self._cursor
        rows = await self._store.read(
            lambda tx: transferred_rows(tx, before=before, after=cursor, limit=MAX_TRANSFERRED)
        )
        self._cursor = (rows[-1].updated_at, rows[-1].id) if len(rows) == MAX_TRANSFERRED else (0, "")
        return rows

    async def _look_at_late(self, rows: list[Withdrawal]) -> int:
        """Heal the schedules of the accounts, and flag what a sweep should have carried long ago."""
        seen: dict[str, Account | None] = {}
        flagged = 0
        for row in rows:
            if row.stripe_account_id not in seen:
                seen[row.stripe_account_id] = await self._read(row.stripe_account_id)
            account = seen[row.stripe_account_id]
            weekly = account is not None and payout_interval(account) == "weekly"
            if self._clock() - row.updated_at < (LATE_WEEKLY_US if weekly else LATE_US):
                continue
            flagged += await self._flag_late(row)
        return flagged

    async def _flag_late(self, row: Withdrawal) -> bool:
        flagged = await self._store.write(lambda tx: ask_for_review(tx, row.id, "transferred"))
        if flagged:
            self._alerts("transferred_too_long", withdrawal_id=row.id, account_id=row.account_id)
        return flagged

    async def _read(self, stripe_account_id: str) -> Account | None:
        try:
            return await self._accounts.read_live(stripe_account_id)
        except StripeFailure as failure:
            _log.warning(
                "a connected account cannot be read",
                extra={"stripe_account_id": stripe_account_id, "failure": type(failure).__name__},
            )
            return None


async def run_reconciler(reconciler: Reconciler, *, store: Store, holder: str, clock: Callable[[], int]) -> None:
    """Look a minute after the start and every hour, in one process at a time; never returns.

    A database that does not answer costs one look; anything else ends the task, and its supervisor starts it again.
    """

    async def look() -> None:
        report = await reconciler.run_once()
        if report.looked_at:
            _log.info("withdrawals were looked at", extra=asdict(report))

    await trio.sleep(FIRST_LOOK_SECONDS)
    while True:
        try:
            await run_under_lock(
                store, "payout_reconciler", look, holder=holder, ttl_seconds=LOCK_SECONDS, wall_clock=clock
            )
        except StoreError as error:
            _log.warning("the look at withdrawals failed: %s", error)
        await trio.sleep(LOOK_EVERY_SECONDS)
