"""The double-entry ledger: one transaction per economic event, entries that sum to zero, balances that follow.

Invariant: the entries of a transaction sum to 0; (kind, reference) is unique and is the guard against doing an event
twice; an account's balance is the sum of its entries, each of which says the balance after it.
Lock order: a reservation, withdrawal or session row, then the transaction row, then balances by ascending account id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import msgspec

from server.billing.balance import EMPTY, Balance, apply
from server.store.errors import InsufficientBalance, Invalid

if TYPE_CHECKING:
    from server.store.engine import Row, Tx

PLATFORM: Final = "platform"
STRIPE_IN: Final = "sys:stripe_in"
STRIPE_OUT: Final = "sys:stripe_out"
GRANTS: Final = "sys:grants"
BASE_REWARDS: Final = "sys:base_rewards"
DUST: Final = "sys:dust"
UNCLAIMED: Final = "sys:unclaimed"
COUNTER_ACCOUNTS: Final = frozenset({PLATFORM, STRIPE_IN, STRIPE_OUT, GRANTS, BASE_REWARDS, DUST, UNCLAIMED})
"""They have entries but no balance row, so that no row is hot; their sums may be negative."""

INSERT_TXN: Final = (
    "INSERT INTO ledger_txns (kind, reference, created_at) VALUES ($1, $2, $3)"
    " ON CONFLICT (kind, reference) DO NOTHING RETURNING id"
)
"""Claims an event and returns the transaction's id; no row when it was claimed before."""


class Entry(msgspec.Struct, frozen=True):
    """One line of a transaction: micro-USD that come to (or, negative, leave) an account, and the earned part of it.

    `reference` is for people; without one the transaction's reference stands there.
    """

    account_id: str
    entry_type: str
    amount: int
    withdrawable_delta: int = 0
    reference: str = ""


async def post(tx: Tx, kind: str, reference: str, entries: Sequence[Entry], now: int) -> int | None:
    """Record one economic event and move the money; returns the transaction's id.

    None means that this event (kind, reference) was recorded before: nothing was done. Raises InsufficientBalance when
    a debit is not covered by free money of its kind, and Invalid for entries that do not sum to zero or are empty of
    money; both undo the whole transaction.
    """
    _check(entries)
    txn_id = await insert_txn(tx, kind, reference, now)
    if txn_id is None:
        return None
    real = {entry.account_id for entry in entries} - COUNTER_ACCOUNTS
    balances = await lock_balances(tx, real, now)
    written: list[tuple[Entry, int | None]] = []
    for entry in entries:
        before = balances.get(entry.account_id)
        if before is None:
            written.append((entry, None))
            continue
        after = apply(before, entry.amount, entry.withdrawable_delta)
        if after is None:
            raise InsufficientBalance(f"The free balance of the account does not carry {-entry.amount} micro-USD.")
        balances[entry.account_id] = after
        written.append((entry, after.balance))
    await store_balances(tx, balances, now)
    await write_entries(tx, txn_id, reference, written, now)
    return txn_id


async def insert_txn(tx: Tx, kind: str, reference: str, now: int) -> int | None:
    """Claim an event; None = it was claimed before."""
    if not kind or not reference or "\x00" in reference:
        raise Invalid("A ledger transaction needs a kind and a reference.")
    return cast("int | None", await tx.value(INSERT_TXN, kind, reference, now))


async def lock_balances(tx: Tx, ids: Iterable[str], now: int) -> dict[str, Balance]:
    """Lock the balance rows of real accounts, in ascending order, making those that are missing; {} for no ids."""
    wanted = sorted(set(ids) - COUNTER_ACCOUNTS)
    if not wanted:
        return {}
    found = await _locked(tx, wanted)
    missing = [account for account in wanted if account not in found]
    if missing:
        values = ", ".join(f"(${n}, $1)" for n in range(2, len(missing) + 2))
        # The update changes nothing: it locks a row that somebody else made in the meantime, and returns it.
        rows = await tx.fetch(
            f"INSERT INTO balances (account_id, updated_at) VALUES {values}"
            f" ON CONFLICT (account_id) DO UPDATE SET account_id = excluded.account_id RETURNING {_COLUMNS}",
            now,
            *missing,
        )
        found.update(_balances(rows))
    return found


async def read_balance(tx: Tx, account_id: str) -> Balance:
    """An account's balance without a lock; empty for an account that never had money."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM balances WHERE account_id = $1", account_id)
    return _balances(rows).get(account_id, EMPTY)


async def store_balance(tx: Tx, account_id: str, balance: Balance, now: int) -> None:
    """Write one balance whose row is locked."""
    await store_balances(tx, {account_id: balance}, now)


async def store_balances(tx: Tx, balances: Mapping[str, Balance], now: int) -> None:
    """Write balances whose rows are locked, in one statement."""
    if not balances:
        return
    values: list[int | str] = [now]
    for account_id, balance in sorted(balances.items()):
        values += (account_id, *balance)
    await tx.execute(_store_balances(len(balances)), *values)


async def write_entries(
    tx: Tx, txn_id: int, reference: str, entries: Sequence[tuple[Entry, int | None]], now: int
) -> None:
    """Write entries with the balance after each (None for counter-accounts), in one statement; zeros are left out."""
    count = 0
    values: list[int | str | None] = [txn_id, now]
    for entry, after in entries:
        if entry.amount == 0 and entry.withdrawable_delta == 0:
            continue
        count += 1
        values += (
            entry.account_id,
            entry.entry_type,
            entry.amount,
            entry.withdrawable_delta,
            after,
            entry.reference or reference,
        )
    if count:
        await tx.execute(_insert_entries(count), *values)


_COLUMNS: Final = "account_id, balance_micro_usd, withdrawable_micro_usd, held_micro_usd, held_withdrawable_micro_usd"


@lru_cache
def _store_balances(count: int) -> str:
    rows = ", ".join(f"(${n}, ${n + 1}, ${n + 2}, ${n + 3}, ${n + 4}, $1)" for n in range(2, 2 + 5 * count, 5))
    return (
        f"INSERT INTO balances ({_COLUMNS}, updated_at) VALUES {rows} ON CONFLICT (account_id) DO UPDATE SET"
        " balance_micro_usd = excluded.balance_micro_usd, withdrawable_micro_usd = excluded.withdrawable_micro_usd,"
        " held_micro_usd = excluded.held_micro_usd,"
        " held_withdrawable_micro_usd = excluded.held_withdrawable_micro_usd, updated_at = excluded.updated_at"
    )


@lru_cache
def _insert_entries(count: int) -> str:
    rows = (f"($1, ${n}, ${n + 1}, ${n + 2}, ${n + 3}, ${n + 4}, ${n + 5}, $2)" for n in range(3, 3 + 6 * count, 6))
    return (
        "INSERT INTO ledger_entries (txn_id, account_id, entry_type, amount_micro_usd,"
        f" withdrawable_delta_micro_usd, balance_after, reference, created_at) VALUES {', '.join(rows)}"
    )


async def _locked(tx: Tx, wanted: Sequence[str]) -> dict[str, Balance]:
    marks = ", ".join(f"${n}" for n in range(1, len(wanted) + 1))
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM balances WHERE account_id IN ({marks}) ORDER BY account_id@LOCK", *wanted
    )
    return _balances(rows)


def _balances(rows: Iterable[Row]) -> dict[str, Balance]:
    return {
        cast(str, row["account_id"]): Balance(
            cast(int, row["balance_micro_usd"]),
            cast(int, row["withdrawable_micro_usd"]),
            cast(int, row["held_micro_usd"]),
            cast(int, row["held_withdrawable_micro_usd"]),
        )
        for row in rows
    }


def _check(entries: Sequence[Entry]) -> None:
    if sum(entry.amount for entry in entries) != 0:
        raise Invalid("The entries of a ledger transaction must sum to zero.")
    for entry in entries:
        if entry.account_id not in COUNTER_ACCOUNTS and not entry.account_id:
            raise Invalid("A ledger entry needs an account.")
        if entry.account_id in COUNTER_ACCOUNTS and entry.withdrawable_delta:
            raise Invalid(f"Nothing can be withdrawn from {entry.account_id}.")
        # Earned money moves only with money of the same sign, and never more of it.
        if abs(entry.withdrawable_delta) > abs(entry.amount) or entry.withdrawable_delta * entry.amount < 0:
            raise Invalid("The earned part of a ledger entry must be part of its amount.")
