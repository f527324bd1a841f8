"""Withdrawals: the rows of `stripe_withdrawals`, and every change of one as a guarded update.

Invariant: a row's status moves only pending → transferred → paid, paid → transferred when a bank bounces, and pending
or transferred → failed together with the refund; `refunded` never goes back, and a refunded row never becomes paid.
`updated_at` of a transferred row is the moment from which a sweep may have carried it: nothing else may touch it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from server.payments.fees import Method, WithdrawalQuote
    from server.store.engine import Row, Tx

WithdrawalStatus: TypeAlias = Literal["pending", "transferred", "paid", "failed"]
COLUMNS = (
    "id, account_id, idempotency_key, stripe_account_id, transfer_id, payout_id, sweep_payout_id, amount_micro_usd,"
    " fee_micro_usd, net_micro_usd, net_cents, method, status, failure_reason, refunded, fee_refunded, attempts,"
    " needs_review, arrival_at, created_at, updated_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A withdrawal; amounts in micro-USD and cents, times in microseconds since the epoch."""

    id: str
    account_id: str
    idempotency_key: str
    stripe_account_id: str
    transfer_id: str
    payout_id: str
    sweep_payout_id: str
    amount_micro_usd: int
    fee_micro_usd: int
    net_micro_usd: int
    net_cents: int
    method: Method
    status: WithdrawalStatus
    failure_reason: str
    refunded: bool
    fee_refunded: bool
    attempts: int
    needs_review: bool
    arrival_at: int | None
    created_at: int
    updated_at: int


async def insert_withdrawal(
    tx: Tx,
    *,
    withdrawal_id: str,
    account_id: str,
    idempotency_key: str,
    stripe_account_id: str,
    quote: WithdrawalQuote,
    now: int,
) -> bool:
    """Write a pending withdrawal whose first attempt is about to be made; False when the key has one already.

    Written again under the same id, because the answer to a COMMIT was lost, it stays as it is and is still ours.
    """
    found = await tx.value(
        "INSERT INTO stripe_withdrawals (id, account_id, idempotency_key, stripe_account_id, amount_micro_usd,"
        " fee_micro_usd, net_micro_usd, net_cents, method, status, attempts, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', 1, $10, $10)"
        " ON CONFLICT DO NOTHING RETURNING id",
        withdrawal_id,
        account_id,
        idempotency_key,
        stripe_account_id,
        quote.gross_micro_usd,
        quote.fee_micro_usd,
        quote.net_micro_usd,
        quote.cents,
        quote.method,
        now,
    )
    return found is not None or await read_withdrawal(tx, withdrawal_id) is not None


async def read_withdrawal(tx: Tx, withdrawal_id: str) -> Withdrawal | None:
    """Return a withdrawal without locking it."""
    return withdrawal_of(await tx.row(f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE id = $1", withdrawal_id))


async def find_by_key(tx: Tx, account_id: str, idempotency_key: str) -> Withdrawal | None:
    """Return the withdrawal that an account made under an idempotency key."""
    if not idempotency_key:
        return None
    return withdrawal_of(
        await tx.row(
            f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE account_id = $1 AND idempotency_key = $2",
            account_id,
            idempotency_key,
        )
    )


async def list_withdrawals(tx: Tx, account_id: str, limit: int) -> list[Withdrawal]:
    """Return an account's newest withdrawals."""
    rows = await tx.fetch(
        f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE account_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
        account_id,
        limit,
    )
    return [found for row in rows if (found := withdrawal_of(row)) is not None]


async def lock_withdrawal(tx: Tx, withdrawal_id: str) -> Withdrawal | None:
    """Return and lock a withdrawal."""
    return withdrawal_of(await tx.row(f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE id = $1@LOCK", withdrawal_id))


async def lock_by_payout(tx: Tx, payout_id: str) -> Withdrawal | None:
    """Return and lock the withdrawal that an instant payout belongs to."""
    if not payout_id:
        return None
    sql = f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE payout_id = $1@LOCK"
    return withdrawal_of(await tx.row(sql, payout_id))


async def lock_by_transfer(tx: Tx, transfer_id: str) -> Withdrawal | None:
    """Return and lock the withdrawal that a transfer belongs to."""
    if not transfer_id:
        return None
    sql = f"SELECT {COLUMNS} FROM stripe_withdrawals WHERE transfer_id = $1@LOCK"
    return withdrawal_of(await tx.row(sql, transfer_id))


async def mark_transferred(tx: Tx, withdrawal_id: str, transfer_id: str, now: int) -> bool:
    """Note the transfer of a pending withdrawal."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'transferred', transfer_id = $2, needs_review = 0, updated_at = $3"
        " WHERE id = $1 AND status = 'pending' AND refunded = 0",
        withdrawal_id,
        transfer_id,
        now,
    )
    return changed == 1


async def note_payout(tx: Tx, withdrawal_id: str, payout_id: str, *, arrival_at: int | None) -> bool:
    """Note the instant payout of a withdrawal, unless it has one, was given up, or has already bounced."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET payout_id = $2, arrival_at = $3, needs_review = 0 WHERE id = $1"
        " AND payout_id = '' AND method = 'instant' AND status = 'transferred' AND refunded = 0"
        " AND fee_refunded = 0",
        withdrawal_id,
        payout_id,
        arrival_at,
    )
    return changed == 1


async def mark_paid(tx: Tx, withdrawal_id: str, now: int) -> bool:
    """Note that the bank has the money; a paid or refunded row stays as it is."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'paid', needs_review = 0, updated_at = $2"
        " WHERE id = $1 AND status IN ('pending', 'transferred') AND refunded = 0",
        withdrawal_id,
        now,
    )
    return changed == 1


async def mark_fee_refunded(tx: Tx, withdrawal_id: str, reason: str, now: int) -> bool:
    """Give up the instant payout of a withdrawal: the next sweep carries it. A refunded row stays as it is."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'transferred', fee_refunded = 1, payout_id = '', arrival_at = NULL,"
        " failure_reason = $2, needs_review = 0, updated_at = $3 WHERE id = $1"
        " AND status IN ('transferred', 'paid') AND refunded = 0",
        withdrawal_id,
        reason,
        now,
    )
    return changed == 1


async def mark_failed(tx: Tx, withdrawal_id: str, reason: str, now: int) -> bool:
    """Note that all of a withdrawal came back; the caller refunds it in the same transaction."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET status = 'failed', refunded = 1, failure_reason = $2, needs_review = 0,"
        " fee_refunded = CASE WHEN fee_micro_usd > 0 THEN 1 ELSE 0 END, updated_at = $3"
        " WHERE id = $1 AND status IN ('pending', 'transferred') AND refunded = 0",
        withdrawal_id,
        reason,
        now,
    )
    return changed == 1


async def adopt_transfer(tx: Tx, withdrawal_id: str, transfer_id: str) -> None:
    """Note the transfer of a row that did not learn its id."""
    await tx.execute(
        "UPDATE stripe_withdrawals SET transfer_id = $2 WHERE id = $1 AND transfer_id = ''", withdrawal_id, transfer_id
    )


async def count_attempt(tx: Tx, withdrawal_id: str, now: int) -> bool:
    """Note another attempt at the transfer of a pending withdrawal."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET attempts = attempts + 1, updated_at = $2 WHERE id = $1 AND status = 'pending'",
        withdrawal_id,
        now,
    )
    return changed == 1


async def ask_for_review(tx: Tx, withdrawal_id: str, status: WithdrawalStatus) -> bool:
    """Flag a row for the operator; False when it is flagged already or has moved on."""
    changed = await tx.execute(
        "UPDATE stripe_withdrawals SET needs_review = 1 WHERE id = $1 AND status = $2 AND needs_review = 0",
        withdrawal_id,
        status,
    )
    return changed == 1


def withdrawal_of(row: Row | None) -> Withdrawal | None:
    """Return a row as a record."""
    if row is None:
        return None
    return Withdrawal(
        id=cast(str, row["id"]),
        account_id=cast(str, row["account_id"]),
        idempotency_key=cast(str, row["idempotency_key"]),
        stripe_account_id=cast(str, row["stripe_account_id"]),
        transfer_id=cast(str, row["transfer_id"]),
        payout_id=cast(str, row["payout_id"]),
        sweep_payout_id=cast(str, row["sweep_payout_id"]),
        amount_micro_usd=cast(int, row["amount_micro_usd"]),
        fee_micro_usd=cast(int, row["fee_micro_usd"]),
        net_micro_usd=cast(int, row["net_micro_usd"]),
        net_cents=cast(int, row["net_cents"]),
        method=cast("Method", row["method"]),
        status=cast("WithdrawalStatus", row["status"]),
        failure_reason=cast(str, row["failure_reason"]),
        refunded=row["refunded"] == 1,
        fee_refunded=row["fee_refunded"] == 1,
        attempts=cast(int, row["attempts"]),
        needs_review=row["needs_review"] == 1,
        arrival_at=cast("int | None", row["arrival_at"]),
        created_at=cast(int, row["created_at"]),
        updated_at=cast(int, row["updated_at"]),
    )
