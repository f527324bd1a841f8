"""Durable holds: money reserved for a running request, one reservation row each. Transactions, no services.

Invariant: an account's `held` is the sum of its reservations in state `held`; a reservation leaves that state once.
Taking a hold locks the balance first and inserts the reservation then: the row is new, so nobody can wait for it while
holding the balance. Everything that changes an existing reservation locks that row first, then the balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.billing import balance as maths
from server.billing.balance import Balance
from server.billing.key_spend import OPEN_SQL, SPENT_SQL, committed, summed_from
from server.billing.ledger import lock_balances, store_balance
from server.store.errors import CapExceeded, Conflict, InsufficientBalance, Invalid, NotFound

if TYPE_CHECKING:
    from server.billing.key_spend import KeyCap, SpentBefore
    from server.store.engine import Row, Tx

ReleaseReason: TypeAlias = Literal["unused", "cancelled", "expired", "restart"]

_NO_LIMIT: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A reservation row; micro-USD."""

    request_id: str
    account_id: str
    key_id: str
    amount: int
    withdrawable: int
    state: Literal["held", "settled", "released"]
    settled_cost: int | None


async def hold(
    tx: Tx,
    *,
    request_id: str,
    account_id: str,
    amount: int,
    now: int,
    expires_at: int,
    key_id: str = "",
    cap: KeyCap | None = None,
    before: SpentBefore | None = None,
    model: str = "",
    instance_id: str = "",
) -> None:
    """Reserve an amount for a request; doing it again with the same amount succeeds and changes nothing.

    `before` is a part of the key's spend that is known already. Raises InsufficientBalance, CapExceeded, or Conflict
    when the request id was used in another way. Three statements.
    """
    if amount < 0 or not request_id or not account_id:
        raise Invalid("A hold needs a request id, an account and an amount that is not negative.")
    balances = await lock_balances(tx, (account_id,), now)
    reserved = maths.hold(balances[account_id], amount)
    if reserved is None:
        if await _is_repeated(tx, request_id, account_id, amount):
            return
        await _check_cap(tx, key_id, cap, amount, now, before)
        raise InsufficientBalance(f"The free balance of {balances[account_id].free} micro-USD does not carry {amount}.")
    after, earned = reserved
    bounds: tuple[int, ...] = ()
    if cap is not None and key_id:
        since, spent = summed_from(cap.window, now, before)
        bounds = (since, cap.limit - spent)
    inserted = await tx.value(
        _INSERT_CAPPED if bounds else _INSERT,
        request_id,
        account_id,
        key_id,
        model,
        amount,
        earned,
        instance_id,
        now,
        expires_at,
        *bounds,
    )
    if inserted is None:
        if await _is_repeated(tx, request_id, account_id, amount):
            return
        await _check_cap(tx, key_id, cap, amount, now, before)
        raise Conflict(f"The reservation of {request_id} could not be written; try again.")
    await store_balance(tx, account_id, after, now)


async def raise_hold(
    tx: Tx, request_id: str, total: int, now: int, *, cap: KeyCap | None = None, before: SpentBefore | None = None
) -> None:
    """Raise an open hold to `total`; less than it holds changes nothing. Raises as `hold`, and NotFound if not open."""
    row = await _open_row(tx, request_id)
    more = total - row.amount
    if more <= 0:
        return
    locked = (await lock_balances(tx, (row.account_id,), now))[row.account_id]
    await _check_cap(tx, row.key_id, cap, more, now, before)
    reserved = maths.hold(locked, more)
    if reserved is None:
        raise InsufficientBalance(f"The free balance of {locked.free} micro-USD does not carry {more} more.")
    await _resize(tx, row, total, row.withdrawable + reserved[1], reserved[0], now)


async def lower_hold(tx: Tx, request_id: str, total: int, now: int) -> None:
    """Lower an open hold to `total`; more than it holds changes nothing. Raises NotFound if it is not open."""
    if total < 0:
        raise Invalid("A hold cannot be negative.")
    row = await _open_row(tx, request_id)
    if total >= row.amount:
        return
    locked = (await lock_balances(tx, (row.account_id,), now))[row.account_id]
    reserved = maths.hold(maths.release(locked, row.amount, row.withdrawable), total)
    if reserved is None:
        raise AssertionError("A part of a hold is always covered by the whole of it.")
    await _resize(tx, row, total, reserved[1], reserved[0], now)


async def release(
    tx: Tx, request_id: str, reason: ReleaseReason, now: int, *, expired_before: int | None = None
) -> bool:
    """Close an open hold without a charge; False when it was not open (or, with a time, had not expired before it)."""
    row = await tx.row(
        "UPDATE reservations SET state = 'released', reason = $2, closed_at = $3 WHERE request_id = $1"
        " AND state = 'held' AND expires_at < $4"
        " RETURNING account_id, amount_micro_usd, withdrawable_micro_usd",
        request_id,
        reason,
        now,
        _NO_LIMIT if expired_before is None else expired_before,
    )
    if row is None:
        return False
    account_id = cast(str, row["account_id"])
    locked = (await lock_balances(tx, (account_id,), now))[account_id]
    after = maths.release(locked, cast(int, row["amount_micro_usd"]), cast(int, row["withdrawable_micro_usd"]))
    await store_balance(tx, account_id, after, now)
    return True


async def extend(tx: Tx, request_ids: Sequence[str], expires_at: int) -> int:
    """Move the expiry of open holds; returns how many there were."""
    if not request_ids:
        return 0
    # Padded to a power of two: few different statements, so that prepared ones are found again.
    padded = [*request_ids, *[request_ids[-1]] * ((1 << (len(request_ids) - 1).bit_length()) - len(request_ids))]
    marks = ", ".join(f"${n}" for n in range(2, len(padded) + 2))
    return await tx.execute(
        f"UPDATE reservations SET expires_at = $1 WHERE state = 'held' AND request_id IN ({marks})",
        expires_at,
        *padded,
    )


async def expired(tx: Tx, before: int, limit: int) -> list[str]:
    """Request ids of open holds that expired before a time, oldest first."""
    rows = await tx.fetch(
        "SELECT request_id FROM reservations WHERE state = 'held' AND expires_at < $1 ORDER BY expires_at LIMIT $2",
        before,
        limit,
    )
    return [cast(str, row["request_id"]) for row in rows]


async def find(tx: Tx, request_id: str) -> Reservation | None:
    """Read a reservation without a lock."""
    row = await tx.row(f"SELECT {_COLUMNS} FROM reservations WHERE request_id = $1", request_id)
    return _reservation(row) if row is not None else None


_COLUMNS: Final = (
    "request_id, account_id, key_id, amount_micro_usd, withdrawable_micro_usd, state, settled_cost_micro_usd"
)
_INSERT_INTO: Final = (
    "INSERT INTO reservations (request_id, account_id, key_id, model, amount_micro_usd, withdrawable_micro_usd, state,"
    " instance_id, created_at, expires_at) "
)
_INSERT: Final = (
    f"{_INSERT_INTO}VALUES ($1, $2, $3, $4, $5, $6, 'held', $7, $8, $9)"
    " ON CONFLICT (request_id) DO NOTHING RETURNING request_id"
)
_INSERT_CAPPED: Final = (
    f"{_INSERT_INTO}SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT),"
    " CAST($6 AS BIGINT), 'held', CAST($7 AS TEXT), CAST($8 AS BIGINT), CAST($9 AS BIGINT)"
    f" WHERE {SPENT_SQL.format(key='$3', start='$10')} + {OPEN_SQL.format(key='$3')} + CAST($5 AS BIGINT)"
    " <= CAST($11 AS BIGINT) ON CONFLICT (request_id) DO NOTHING RETURNING request_id"
)


async def _is_repeated(tx: Tx, request_id: str, account_id: str, amount: int) -> bool:
    """Whether this very hold is open already; raises Conflict when the id belongs to anything else."""
    row = await find(tx, request_id)
    if row is None:
        return False
    if (row.account_id, row.amount, row.state) != (account_id, amount, "held"):
        raise Conflict(f"The request {request_id} already has a reservation in state {row.state!r}.")
    return True


async def _check_cap(tx: Tx, key_id: str, cap: KeyCap | None, more: int, now: int, before: SpentBefore | None) -> None:
    """Raise CapExceeded if the key may not commit so much more; the balance row is locked."""
    if cap is None or not key_id:
        return
    used = await committed(tx, key_id, cap.window, now, before)
    if used + more > cap.limit:
        raise CapExceeded(cap.window, cap.limit, used)


async def _open_row(tx: Tx, request_id: str) -> Reservation:
    row = await tx.row(f"SELECT {_COLUMNS} FROM reservations WHERE request_id = $1 AND state = 'held'@LOCK", request_id)
    if row is None:
        raise NotFound(f"The request {request_id} has no open hold.")
    return _reservation(row)


async def _resize(tx: Tx, row: Reservation, total: int, earned: int, after: Balance, now: int) -> None:
    await tx.execute(
        "UPDATE reservations SET amount_micro_usd = $2, withdrawable_micro_usd = $3 WHERE request_id = $1",
        row.request_id,
        total,
        earned,
    )
    await store_balance(tx, row.account_id, after, now)


def _reservation(row: Row) -> Reservation:
    return Reservation(
        request_id=cast(str, row["request_id"]),
        account_id=cast(str, row["account_id"]),
        key_id=cast(str, row["key_id"]),
        amount=cast(int, row["amount_micro_usd"]),
        withdrawable=cast(int, row["withdrawable_micro_usd"]),
        state=cast('Literal["held", "settled", "released"]', row["state"]),
        settled_cost=cast("int | None", row["settled_cost_micro_usd"]),
    )
