"""Stripe's automatic payouts: one sweep of an account's balance carries every withdrawal that had arrived before it.

Invariant: a sweep marks and reopens only rows that carry its id; amounts are not compared, because Stripe converts
currencies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.store import Tx


async def claim_by_sweep(
    tx: Tx, *, stripe_account_id: str, payout_id: str, payout_created: int, delay_us: int, now: int
) -> int:
    """Mark every row that a sweep carried as paid; returns how many. Times in microseconds.

    A row is carried when its money was there before the payout was made: made `delay_us` before it, and not touched
    since. Rows with a payout of their own, and rows that bounced later than the payout, are not.
    """
    return await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'paid', sweep_payout_id = $2, needs_review = 0, updated_at = $5"
        " WHERE stripe_account_id = $1 AND status = 'transferred' AND refunded = 0 AND payout_id = ''"
        " AND created_at <= $3 AND updated_at <= $4",
        stripe_account_id,
        payout_id,
        payout_created - delay_us,
        payout_created,
        now,
    )


async def reopen_sweep(tx: Tx, *, stripe_account_id: str, payout_id: str, reason: str, now: int) -> int:
    """Undo what a sweep marked, because the bank sent it back; returns how many rows wait for the next sweep."""
    return await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'transferred', sweep_payout_id = '', failure_reason = $3,"
        " updated_at = $4 WHERE sweep_payout_id = $2 AND stripe_account_id = $1 AND status = 'paid' AND refunded = 0",
        stripe_account_id,
        payout_id,
        reason,
        now,
    )
