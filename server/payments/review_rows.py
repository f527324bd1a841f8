"""Which withdrawals need another look: the reconciler's questions to `stripe_withdrawals`, each bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.payments.withdrawal_rows import COLUMNS, Withdrawal, withdrawal_of

if TYPE_CHECKING:
    from server.store import Row, Tx


async def pending_rows(tx: Tx, *, before: int, limit: int) -> list[Withdrawal]:
    """Return pending rows last touched before a moment that nobody reviews yet; the longest untouched first."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE status = 'pending' AND updated_at < $1 AND needs_review = 0"
        " ORDER BY updated_at, id LIMIT $2",
        before,
        limit,
    )
    return _withdrawals(rows)


async def payouts_in_doubt(tx: Tx, *, before: int, limit: int) -> list[Withdrawal]:
    """Return transferred instant rows without the payout that their fee was paid for; the oldest first."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE status = 'transferred' AND method = 'instant'"
        " AND payout_id = '' AND fee_refunded = 0 AND refunded = 0 AND needs_review = 0 AND updated_at < $1"
        " ORDER BY updated_at, id LIMIT $2",
        before,
        limit,
    )
    return _withdrawals(rows)


async def transferred_rows(tx: Tx, *, before: int, after: tuple[int, str], limit: int) -> list[Withdrawal]:
    """Return rows transferred before a moment that nobody reviews yet, by age, from behind `after` (time, id) on."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE status = 'transferred' AND updated_at < $1"
        " AND needs_review = 0 AND (updated_at > $2 OR (updated_at = $2 AND id > $3))"
        " ORDER BY updated_at, id LIMIT $4",
        before,
        after[0],
        after[1],
        limit,
    )
    return _withdrawals(rows)


async def rows_for_review(tx: Tx, limit: int) -> list[Withdrawal]:
    """Return rows that wait for a person, the oldest first."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE needs_review = 1 ORDER BY created_at, id LIMIT $1", limit
    )
    return _withdrawals(rows)


def _withdrawals(rows: list[Row]) -> list[Withdrawal]:
    return [found for row in rows if (found := withdrawal_of(row)) is not None]
