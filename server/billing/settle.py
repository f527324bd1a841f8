"""Settling one request: a single transaction that closes the hold, charges, pays and records the usage, exactly once.

Invariant: a request is settled at most once. With a hold the guard is the reservation leaving the state `held`; without
one (own machine, platform-covered account) it is the ledger transaction (`settle`, request id). A provider is never
paid money that was not collected from the consumer or the platform.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

from server.billing import balance as maths
from server.billing.balance import EMPTY, Balance
from server.billing.holds import find
from server.billing.ledger import (
    PLATFORM,
    UNCLAIMED,
    Entry,
    insert_txn,
    lock_balances,
    store_balances,
    write_entries,
)
from server.billing.prices import Split, Tokens
from server.billing.records import record_earning, record_usage
from server.store.errors import Invalid

if TYPE_CHECKING:
    from server.billing.prices import Tariff
    from server.store.engine import Row, Tx

Funding: TypeAlias = Literal["hold", "covered", "direct"]
"""Who pays, and from what: the account's hold, the platform, or (no hold was taken) the account's free balance."""

OVERAGE_FACTOR: Final = 2
"""No request is charged more than twice what was reserved for it: a circuit-breaker against fraud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """All that a settlement needs; `cost` is micro-USD at the prices frozen for the request.

    `owner` is the account linked to the serving machine at dispatch, None without one. `reserved` is what the request
    was admitted with where there is no reservation row to say so.
    """

    request_id: str
    account_id: str
    funding: Funding
    cost: int
    tokens: Tokens
    model: str
    public_model: str = ""
    reasoning_tokens: int = 0
    key_id: str = ""
    provider_id: str = ""
    provider_key: str = ""
    job_id: str = ""
    owner: str | None = None
    reserved: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a settlement did; micro-USD. `fresh` is False when the request had been closed before: nothing was done."""

    fresh: bool
    cost: int = 0
    payout: int = 0
    reward: int = 0
    platform: int = 0
    reserved: int = 0
    private: bool = False
    clamped: bool = False
    uncollected: bool = False


@dataclass(frozen=True, slots=True)
class _Terms:
    """What the database says about the parties, and the reservation's amounts if there was one."""

    reserved: int | None
    earned: int
    cost: int
    fee_percent: int | None
    referrer: str | None


async def settle(tx: Tx, bill: Bill, tariff: Tariff, now: int) -> Settled:
    """Close the request with its charge. Eight statements for a paid request; a repetition does nothing.

    The result of a repetition says what was charged then. Raises Invalid for amounts that could never be stored.
    """
    if bill.cost < 0 or not bill.request_id or not bill.account_id:
        raise Invalid("A bill needs a request id, an account and a cost that is not negative.")
    free = bill.owner == bill.account_id
    if bill.funding == "direct":
        # A reservation all the same: it decides, so that what was released is never charged later.
        bill = replace(bill, funding="hold") if await find(tx, bill.request_id) is not None else bill
    terms = await _close_hold(tx, bill, free, now) if bill.funding == "hold" else await _read_terms(tx, bill, free)
    if terms is None:
        return Settled(fresh=False, cost=await _charged_before(tx, bill.request_id))
    txn_id = await insert_txn(tx, "settle", bill.request_id, now)
    if txn_id is None:
        if bill.funding == "hold":
            raise Invalid(f"The request {bill.request_id} was settled without its hold.")
        return Settled(fresh=False, cost=await _charged_before(tx, bill.request_id))
    return await _move_money(tx, txn_id, bill, terms, tariff, now, free=free)


async def _move_money(
    tx: Tx, txn_id: int, bill: Bill, terms: _Terms, tariff: Tariff, now: int, *, free: bool
) -> Settled:
    owner = bill.owner or UNCLAIMED
    # A referrer who serves the request himself would only win back a part of his own fee.
    referrer = terms.referrer if terms.referrer not in (None, owner, bill.account_id) else None
    cost, uncollected = terms.cost, False
    split = tariff.split(cost, fee_percent=terms.fee_percent, referred=referrer is not None)
    paid = bill.funding != "covered" and (bill.funding == "hold" or cost > 0)
    parties = {bill.account_id} if paid else set()
    parties |= {account for account, gain in ((owner, split.payout), (referrer, split.reward)) if account and gain}
    balances = await lock_balances(tx, parties, now)
    spent = 0
    if paid:
        charged = _charge(balances[bill.account_id], terms, cost)
        if charged is None:
            # The money above the hold is not there: the hold itself always is; without a hold nothing is taken.
            cost, uncollected = terms.reserved or 0, True
            split = tariff.split(cost, fee_percent=terms.fee_percent, referred=referrer is not None)
            charged = _charge(balances[bill.account_id], terms, cost)
            if bill.funding == "hold":
                await _correct_cost(tx, bill.request_id, cost)
        if charged is None:
            raise AssertionError("A hold always covers itself.")
        balances[bill.account_id], spent = charged
    entries = _entries(bill, cost, spent, owner, referrer, split)
    written = _credit(entries, balances, skip=bill.account_id)
    await store_balances(tx, balances, now)
    await write_entries(tx, txn_id, bill.request_id, written, now)
    if split.payout:
        await record_earning(tx, bill, owner, split.payout, now)
    await record_usage(tx, bill, 0 if bill.funding == "covered" else cost, now, private=free)
    return Settled(
        fresh=True,
        cost=cost,
        payout=split.payout,
        reward=split.reward,
        platform=split.platform,
        reserved=terms.reserved or 0,
        private=free,
        clamped=not free and terms.cost < bill.cost,
        uncollected=uncollected,
    )


def _charge(balance: Balance, terms: _Terms, cost: int) -> tuple[Balance, int] | None:
    return maths.capture(balance, terms.reserved or 0, terms.earned, cost)


def _entries(bill: Bill, cost: int, spent: int, owner: str, referrer: str | None, split: Split) -> list[Entry]:
    if cost == 0:
        return []
    if bill.funding == "covered":
        entries = [Entry(PLATFORM, "covered_usage", -cost)]
    else:
        entries = [Entry(bill.account_id, "charge", -cost, -spent)]
    entries.append(Entry(owner, "payout", split.payout, 0 if owner == UNCLAIMED else split.payout))
    if referrer is not None:
        entries.append(Entry(referrer, "referral_reward", split.reward, split.reward))
    entries.append(Entry(PLATFORM, "platform_fee", split.platform))
    return [entry for entry in entries if entry.amount]


def _credit(entries: list[Entry], balances: dict[str, Balance], *, skip: str) -> list[tuple[Entry, int | None]]:
    """Apply the gains to the balances; the consumer's charge is in its balance already."""
    written: list[tuple[Entry, int | None]] = []
    for entry in entries:
        before = balances.get(entry.account_id)
        if before is None:
            written.append((entry, None))
            continue
        if entry.account_id != skip:
            balances[entry.account_id] = maths.credit(before, entry.amount, earned=True)
        written.append((entry, balances.get(entry.account_id, EMPTY).balance))
    return written


_PARTIES: Final = (
    "(SELECT platform_fee_percent FROM users WHERE account_id = {owner}) AS fee_percent,"
    " (SELECT r.account_id FROM referrals f JOIN referrers r ON r.code = f.referrer_code"
    " WHERE f.referred_account = {consumer}) AS referrer"
)

_CLOSE: Final = (
    "UPDATE reservations SET state = 'settled', closed_at = $2, settled_cost_micro_usd ="
    " CASE WHEN CAST($3 AS BIGINT) > CAST($4 AS BIGINT) * amount_micro_usd"
    " THEN CAST($4 AS BIGINT) * amount_micro_usd ELSE CAST($3 AS BIGINT) END"
    " WHERE request_id = $1 AND account_id = $5 AND state = 'held'"
    " RETURNING amount_micro_usd, withdrawable_micro_usd, settled_cost_micro_usd, "
    + _PARTIES.format(owner="$6", consumer="$5")
)
"""One statement closes the hold, clamps the cost and reads what is agreed with the parties."""


async def _close_hold(tx: Tx, bill: Bill, free: bool, now: int) -> _Terms | None:
    row = await tx.row(
        _CLOSE,
        bill.request_id,
        now,
        0 if free else bill.cost,
        OVERAGE_FACTOR,
        bill.account_id,
        bill.owner or "",
    )
    if row is None:
        return None
    return _terms(
        row,
        cast(int, row["amount_micro_usd"]),
        cast(int, row["withdrawable_micro_usd"]),
        cast(int, row["settled_cost_micro_usd"]),
    )


async def _read_terms(tx: Tx, bill: Bill, free: bool) -> _Terms:
    if free:
        return _Terms(None, 0, 0, None, None)
    row = await tx.row(f"SELECT {_PARTIES.format(owner='$1', consumer='$2')}", bill.owner or "", bill.account_id)
    if row is None:
        raise AssertionError("A SELECT without FROM has one row.")
    ceiling = bill.cost if bill.reserved is None else min(bill.cost, OVERAGE_FACTOR * bill.reserved)
    return _terms(row, None, 0, ceiling)


def _terms(row: Row, reserved: int | None, earned: int, cost: int) -> _Terms:
    fee = cast("int | None", row["fee_percent"])
    return _Terms(reserved, earned, cost, fee, cast("str | None", row["referrer"]))


async def _correct_cost(tx: Tx, request_id: str, cost: int) -> None:
    await tx.execute("UPDATE reservations SET settled_cost_micro_usd = $2 WHERE request_id = $1", request_id, cost)


async def _charged_before(tx: Tx, request_id: str) -> int:
    """What the request was charged when it was settled; 0 if it was released."""
    return cast("int | None", await tx.value("SELECT cost_micro_usd FROM usage WHERE request_id = $1", request_id)) or 0
