"""The ledger of one account, newest entries first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from server.store import Tx

MAX_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One entry; micro-USD and microseconds. `balance_after` is None for counter-accounts."""

    id: int
    txn_id: int
    kind: str
    entry_type: str
    amount: int
    withdrawable_delta: int
    balance_after: int | None
    reference: str
    created_at: int


async def newest_entries(tx: Tx, account_id: str, limit: int) -> list[LedgerLine]:
    """List the newest entries of an account, at most 1,000."""
    rows = await tx.fetch(
        "SELECT l.id, l.txn_id, t.kind, l.entry_type, l.amount_micro_usd, l.withdrawable_delta_micro_usd,"
        " l.balance_after, l.reference, l.created_at FROM ledger_entries l JOIN ledger_txns t ON t.id = l.txn_id"
        " WHERE l.account_id = $1 ORDER BY l.id DESC LIMIT $2",
        account_id,
        min(max(limit, 1), MAX_LISTED),
    )
    return [
        LedgerLine(
            id=cast(int, row["id"]),
            txn_id=cast(int, row["txn_id"]),
            kind=cast(str, row["kind"]),
            entry_type=cast(str, row["entry_type"]),
            amount=cast(int, row["amount_micro_usd"]),
            withdrawable_delta=cast(int, row["withdrawable_delta_micro_usd"]),
            balance_after=cast("int | None", row["balance_after"]),
            reference=cast(str, row["reference"]),
            created_at=cast(int, row["created_at"]),
        )
        for row in rows
    ]
