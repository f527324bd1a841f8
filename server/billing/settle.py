"""Settling one request: a single transaction that closes the hold, charges, pays and records the usage, exactly once.

Invariant: a request is settled at most once. With a hold the guard is the reservation leaving the state `held`; without
one (own machine, platform-covered account) it is the ledger transaction (`settle`, request id). A provider is never
paid money that was not collected from the consumer or the platform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import msgspec

from server.billing import balance as maths
from server.billing.balance import Balance
from server.billing.holds import find
from server.billing.ledger import (
    INSERT_TXN,
    PLATFORM,
    UNCLAIMED,
    Entry,
    lock_balances,
    store_balances,
    write_entries,
)
from server.billing.prices import Split, Tokens
from server.billing.records import record_earning, record_usage
from server.store.errors import Invalid

if TYPE_CHECKING:
    from server.billing.prices import Tariff
    from server.store.engine import Tx

Funding: TypeAlias = Literal["hold", "covered", "direct"]
"""Who pays, and from what: the account's hold, the platform, or (no hold was taken) the account's free balance."""

OVERAGE_FACTOR: Final = 2
"""No request is charged more than twice what was reserved for it: a circuit-breaker against fraud."""


class Bill(msgspec.Struct, frozen=True, kw_only=True):
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


class Settled(msgspec.Struct, frozen=True, kw_only=True):
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


class _Closed(msgspec.Struct, frozen=True):
    """What was on hold, the earned part of it, and the cost as far as it may be charged; micro-USD."""

    held: int
    earned: int
    cost: int


class _Claimed(msgspec.Struct, frozen=True):
    """The ledger transaction, and what is agreed with the parties: the owner's own fee, who referred the consumer."""

    txn_id: int
    fee_percent: int | None
    referrer: str | None


async def settle(tx: Tx, bill: Bill, tariff: Tariff, now: int) -> Settled:
    """Close the request with its charge. Eight statements for a paid request; a repetition does nothing.

    The result of a repetition says what was charged then. Raises Invalid for amounts that could never be stored.
    """
    if bill.cost < 0 or not bill.request_id or not bill.account_id:
        raise Invalid("A bill needs a request id, an account and a cost that is not negative.")
    free = bill.owner == bill.account_id
    if bill.funding == "direct" and await find(tx, bill.request_id) is not None:
        # A reservation all the same: it decides, so that what was released is never charged later.
        bill = msgspec.structs.replace(bill, funding="hold")
    closed = await _close_hold(tx, bill, free, now) if bill.funding == "hold" else _without_hold(bill, free)
    if closed is None:
        return await _settled_before(tx, bill)
    claimed = await _claim(tx, bill, now)
    if claimed is None:
        if bill.funding == "hold":
            raise Invalid(f"The request {bill.request_id} was settled without its hold.")
        return await _settled_before(tx, bill)
    return await _move_money(tx, bill, closed, claimed, tariff, now, free=free)


async def _move_money(
    tx: Tx, bill: Bill, closed: _Closed, claimed: _Claimed, tariff: Tariff, now: int, *, free: bool
) -> Settled:
    owner = bill.owner or UNCLAIMED
    # A referrer who serves the request himself would only win back a part of his own fee.
    referrer = claimed.referrer if claimed.referrer not in (None, owner, bill.account_id) else None
    cost, uncollected = closed.cost, False
    split = tariff.split(cost, fee_percent=claimed.fee_percent, referred=referrer is not None)
    paid = bill.funding != "covered" and (bill.funding == "hold" or cost > 0)
    parties = {bill.account_id} if paid else set()
    parties |= {account for account, gain in ((owner, split.payout), (referrer, split.reward)) if account and gain}
    balances = await lock_balances(tx, parties, now)
    spent = 0
    if paid:
        charged = _charge(balances[bill.account_id], closed, cost)
        if charged is None:
            # The money above the hold is not there: the hold itself always is; without a hold nothing is taken.
            cost, uncollected = closed.held, True
            split = tariff.split(cost, fee_percent=claimed.fee_percent, referred=referrer is not None)
            charged = _charge(balances[bill.account_id], closed, cost)
            if bill.funding == "hold":
                await _correct_cost(tx, bill.request_id, cost)
        if charged is None:
            raise AssertionError("A hold always covers itself.")
        balances[bill.account_id], spent = charged
    entries = _entries(bill, cost, spent, owner, referrer, split)
    written = _credit(entries, balances, skip=bill.account_id)
    await store_balances(tx, balances, now)
    await write_entries(tx, claimed.txn_id, bill.request_id, written, now)
    if split.payout:
        await record_earning(tx, bill, owner, split.payout, now)
    await record_usage(tx, bill, 0 if bill.funding == "covered" else cost, now, private=free)
    return Settled(
        fresh=True,
        cost=cost,
        payout=split.payout,
        reward=split.reward,
        platform=split.platform,
        reserved=closed.held,
        private=free,
        clamped=not free and closed.cost < bill.cost,
        uncollected=uncollected,
    )


def _charge(balance: Balance, closed: _Closed, cost: int) -> tuple[Balance, int] | None:
    return maths.capture(balance, closed.held, closed.earned, cost)


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
        after = before if entry.account_id == skip else maths.credit(before, entry.amount, earned=True)
        balances[entry.account_id] = after
        written.append((entry, after.balance))
    return written


_CLOSE: Final = (
    "UPDATE reservations SET state = 'settled', closed_at = $2, settled_cost_micro_usd ="
    " CASE WHEN CAST($3 AS BIGINT) > CAST($4 AS BIGINT) * amount_micro_usd"
    " THEN CAST($4 AS BIGINT) * amount_micro_usd ELSE CAST($3 AS BIGINT) END"
    " WHERE request_id = $1 AND account_id = $5 AND state = 'held'"
    " RETURNING amount_micro_usd, withdrawable_micro_usd, settled_cost_micro_usd"
)
"""One statement closes the hold and clamps the cost."""

_CLAIM: Final = (
    f"{INSERT_TXN}, (SELECT platform_fee_percent FROM users WHERE account_id = $4) AS fee_percent,"
    " (SELECT r.account_id FROM referrals f JOIN referrers r ON r.code = f.referrer_code"
    " WHERE f.referred_account = $5) AS referrer"
)
"""One statement claims the settlement and reads what is agreed with the parties."""


async def _close_hold(tx: Tx, bill: Bill, free: bool, now: int) -> _Closed | None:
    cost = 0 if free else bill.cost
    row = await tx.row(_CLOSE, bill.request_id, now, cost, OVERAGE_FACTOR, bill.account_id)
    if row is None:
        return None
    return _Closed(
        cast(int, row["amount_micro_usd"]),
        cast(int, row["withdrawable_micro_usd"]),
        cast(int, row["settled_cost_micro_usd"]),
    )


def _without_hold(bill: Bill, free: bool) -> _Closed:
    cost = 0 if free else bill.cost
    return _Closed(0, 0, cost if bill.reserved is None else min(cost, OVERAGE_FACTOR * bill.reserved))


async def _claim(tx: Tx, bill: Bill, now: int) -> _Claimed | None:
    row = await tx.row(_CLAIM, "settle", bill.request_id, now, bill.owner or "", bill.account_id)
    if row is None:
        return None
    fee = cast("int | None", row["fee_percent"])
    return _Claimed(cast(int, row["id"]), fee, cast("str | None", row["referrer"]))


async def _correct_cost(tx: Tx, request_id: str, cost: int) -> None:
    await tx.execute("UPDATE reservations SET settled_cost_micro_usd = $2 WHERE request_id = $1", request_id, cost)


async def _settled_before(tx: Tx, bill: Bill) -> Settled:
    """What the request was charged when it was settled; 0 if it was released."""
    cost = await tx.value("SELECT cost_micro_usd FROM usage WHERE request_id = $1", bill.request_id)
    return Settled(fresh=False, cost=cast("int | None", cost) or 0)
