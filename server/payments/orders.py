"""Orders of credits: the rows of `billing_sessions`, one for each payment page that somebody asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

if TYPE_CHECKING:
    from server.store.engine import Row, Tx

OrderStatus: TypeAlias = Literal["pending", "completed", "expired", "failed"]
_COLUMNS = (
    "id, account_id, payment_method, amount_micro_usd, currency, external_id, status, referral_code, created_at,"
    " completed_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order; times in microseconds since the epoch. `external_id` is Stripe's id of the payment page."""

    id: str
    account_id: str
    payment_method: str
    amount_micro_usd: int
    currency: str
    external_id: str
    status: OrderStatus
    referral_code: str
    created_at: int
    completed_at: int | None


async def insert_order(
    tx: Tx, *, order_id: str, account_id: str, amount_micro_usd: int, referral_code: str, now: int
) -> Order:
    """Write a new order that waits for its payment; written again under its id, it stays as it is."""
    row = await tx.row(
        "INSERT INTO billing_sessions (id, account_id, payment_method, amount_micro_usd, referral_code, created_at)"
        f" VALUES ($1, $2, 'stripe', $3, $4, $5) ON CONFLICT (id) DO NOTHING RETURNING {_COLUMNS}",
        order_id,
        account_id,
        amount_micro_usd,
        referral_code,
        now,
    )
    order = _order(row) if row is not None else await read_order(tx, order_id)
    assert order is not None
    return order


async def read_order(tx: Tx, order_id: str) -> Order | None:
    """Return an order without locking it."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM billing_sessions WHERE id = $1", order_id)
    return None if row is None else _order(row)


async def lock_order(tx: Tx, *, order_id: str, external_id: str) -> Order | None:
    """Return and lock the order with our id, or without one the order of a payment page."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM billing_sessions WHERE id = $1@LOCK", order_id) if order_id else None
    if row is None and external_id:
        row = await tx.row(f"SELECT {_COLUMNS} FROM billing_sessions WHERE external_id = $1@LOCK", external_id)
    return None if row is None else _order(row)


async def set_external_id(tx: Tx, order_id: str, external_id: str) -> bool:
    """Note the payment page of an order that has none yet."""
    changed = await tx.execute(
        "UPDATE billing_sessions SET external_id = $2 WHERE id = $1 AND external_id = ''", order_id, external_id
    )
    return changed == 1


async def close_unpaid(tx: Tx, order_id: str, status: Literal["expired", "failed"]) -> bool:
    """End an order that still waits; any other is left as it is."""
    changed = await tx.execute(
        "UPDATE billing_sessions SET status = $2 WHERE id = $1 AND status = 'pending'", order_id, status
    )
    return changed == 1


async def complete_order(tx: Tx, order_id: str, now: int) -> None:
    """Mark a locked order as paid."""
    await tx.execute("UPDATE billing_sessions SET status = 'completed', completed_at = $2 WHERE id = $1", order_id, now)


def _order(row: Row) -> Order:
    return Order(
        id=cast(str, row["id"]),
        account_id=cast(str, row["account_id"]),
        payment_method=cast(str, row["payment_method"]),
        amount_micro_usd=cast(int, row["amount_micro_usd"]),
        currency=cast(str, row["currency"]),
        external_id=cast(str, row["external_id"]),
        status=cast("OrderStatus", row["status"]),
        referral_code=cast(str, row["referral_code"]),
        created_at=cast(int, row["created_at"]),
        completed_at=cast("int | None", row["completed_at"]),
    )
