"""Before its first withdrawal: were an account's earnings mostly paid by one consumer who only spends gifts?

Two accounts of one person could turn credits that were given away into money: one spends them, the other serves. What
looks like that waits until the operator has looked at it. Ordinary owners serve many consumers, and never notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from server.payments.alerts import Alerts
    from server.store import Row, Store, Tx

SHARE_PERCENT: Final = 50
"""More than this part of the earnings, from one consumer, is looked at."""

_EARNED: Final = (
    "SELECT c.account_id AS payer, SUM(p.amount_micro_usd) AS amount FROM ledger_entries p"
    " JOIN ledger_entries c ON c.txn_id = p.txn_id AND c.entry_type = 'charge'"
    " WHERE p.account_id = $1 AND p.entry_type = 'payout' GROUP BY c.account_id"
)
_GIFTS: Final = "('admin_credit', 'invite_credit')"
_BACK: Final = "('refund')"
"""Money that comes back tells nothing of where it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """What machines of an account earned, and the consumer who paid most of it; micro-USD."""

    earned: int
    payer_account: str
    payer_amount: int

    @property
    def is_one_sided(self) -> bool:
        """Whether one consumer paid for more than half."""
        return self.payer_amount * 100 > self.earned * SHARE_PERCENT


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutReview:
    """A first withdrawal that waits, or waited; micro-USD and microseconds."""

    account_id: str
    is_open: bool
    payer_account: str
    payer_micro_usd: int
    earned_micro_usd: int
    opened_at: int
    decided_at: int | None
    decided_by: str


class FirstWithdrawals:
    """Lets withdrawals pass or not. `clock` gives microseconds."""

    def __init__(self, *, store: Store, alerts: Alerts, clock: Callable[[], int]) -> None:
        self._store = store
        self._alerts = alerts
        self._clock = clock

    async def lets_pass(self, account_id: str) -> bool:
        """Whether this account may withdraw now; opens a review, once, when it may not. Raises StoreUnavailable."""
        known = await self._store.read(lambda tx: _is_known(tx, account_id))
        if known is not None:
            return known
        # The account's whole history is read, so on the connections for slow questions.
        funding = await self._store.statistics(lambda tx: suspicious_funding(tx, account_id))
        if funding is None:
            return True
        now = self._clock()
        if await self._store.write(lambda tx: _open_review(tx, account_id, funding, now)):
            self._alerts(
                "first_withdrawal_held",
                account_id=account_id,
                payer_account=funding.payer_account,
                payer_micro_usd=funding.payer_amount,
                earned_micro_usd=funding.earned,
            )
        return False


async def suspicious_funding(tx: Tx, account_id: str) -> Funding | None:
    """Return how an account was funded if that must be looked at."""
    rows = await tx.fetch(_EARNED, account_id)
    if not rows:
        return None
    amounts = {cast(str, row["payer"]): int(cast(int, row["amount"])) for row in rows}
    payer = max(sorted(amounts), key=amounts.__getitem__)
    funding = Funding(earned=sum(amounts.values()), payer_account=payer, payer_amount=amounts[payer])
    return funding if funding.is_one_sided and await _spends_gifts_only(tx, payer) else None


async def open_reviews(tx: Tx, limit: int) -> list[PayoutReview]:
    """List the reviews that wait for the operator, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM payout_reviews WHERE state = 'open' ORDER BY opened_at LIMIT $1", limit
    )
    return [_review(row) for row in rows]


async def read_review(tx: Tx, account_id: str) -> PayoutReview | None:
    """Return the review of an account."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM payout_reviews WHERE account_id = $1", account_id)
    return None if row is None else _review(row)


async def clear_review(tx: Tx, account_id: str, by: str, now: int) -> bool:
    """Let an account withdraw from now on; False without an open review."""
    changed = await tx.execute(
        "UPDATE payout_reviews SET state = 'cleared', decided_at = $2, decided_by = $3"
        " WHERE account_id = $1 AND state = 'open'",
        account_id,
        now,
        by,
    )
    return changed == 1


_COLUMNS: Final = (
    "account_id, state, payer_account, payer_micro_usd, earned_micro_usd, opened_at, decided_at, decided_by"
)


async def _is_known(tx: Tx, account_id: str) -> bool | None:
    """What a review or an earlier withdrawal decides; None when there is neither."""
    state = await tx.value("SELECT state FROM payout_reviews WHERE account_id = $1", account_id)
    if state is not None:
        return state == "cleared"
    earlier = "SELECT 1 FROM stripe_withdrawals WHERE account_id = $1 AND status <> 'failed' LIMIT 1"
    return True if await tx.value(earlier, account_id) is not None else None


async def _spends_gifts_only(tx: Tx, account_id: str) -> bool:
    other = await tx.value(
        "SELECT 1 FROM ledger_entries WHERE account_id = $1 AND amount_micro_usd > 0"
        f" AND entry_type NOT IN {_GIFTS} AND entry_type NOT IN {_BACK} LIMIT 1",
        account_id,
    )
    return other is None


async def _open_review(tx: Tx, account_id: str, funding: Funding, now: int) -> bool:
    """Write the review; False when there is one already."""
    found = await tx.value(
        "INSERT INTO payout_reviews (account_id, state, payer_account, payer_micro_usd, earned_micro_usd, opened_at)"
        " VALUES ($1, 'open', $2, $3, $4, $5) ON CONFLICT (account_id) DO NOTHING RETURNING account_id",
        account_id,
        funding.payer_account,
        funding.payer_amount,
        funding.earned,
        now,
    )
    return found is not None


def _review(row: Row) -> PayoutReview:
    return PayoutReview(
        account_id=cast(str, row["account_id"]),
        is_open=row["state"] == "open",
        payer_account=cast(str, row["payer_account"]),
        payer_micro_usd=cast(int, row["payer_micro_usd"]),
        earned_micro_usd=cast(int, row["earned_micro_usd"]),
        opened_at=cast(int, row["opened_at"]),
        decided_at=cast("int | None", row["decided_at"]),
        decided_by=cast(str, row["decided_by"]),
    )
