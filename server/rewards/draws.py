"""The rows of base rewards: what was drawn by whom in which epoch, the money of it, and the facts behind it.

Invariant: one draw for a machine and an epoch; its row, its ledger transaction and its earning are written together.
Lock order: the named lock's row, the draws, then for each grant its transaction and balance, by ascending account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from server.billing.ledger import BASE_REWARDS, Entry, post
from server.rewards.epochs import EPOCH_MS
from server.store.binding import Real
from server.store.errors import Invalid

if TYPE_CHECKING:
    from server.rewards.allocation import Claim
    from server.rewards.epochs import Epoch
    from server.store import Tx

T = TypeVar("T")

MODEL: Final = "base_reward"
MAX_LISTED: Final = 1000
_BATCH: Final = 500


class WorkFacts(NamedTuple):
    """What a machine earned by work within an epoch (micro-USD), and whether it has worked at all lately."""

    organic: int
    has_worked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One machine's part of one epoch; `amount` 0 means that the budget did not reach it, or that it earned enough."""

    claim: Claim
    provider_id: str
    uptime_ms: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRow:
    """A stored draw; micro-USD, microseconds."""

    provider_key: str
    account_id: str
    amount: int
    floor: int
    organic: int
    uptime: float
    memory_gb: int
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochUse:
    """Sums of an epoch."""

    draws: int = 0
    amount: int = 0


def draw_reference(epoch_id: str, provider_key: str) -> str:
    """Give the name of a draw in the ledger and among the earnings."""
    return f"floor:{epoch_id}:{provider_key}"


async def work_facts(tx: Tx, provider_keys: Sequence[str], epoch: Epoch, *, worked_since: int) -> dict[str, WorkFacts]:
    """Give what the earnings say about machines. Earnings come only from other people's paid requests."""
    found: dict[str, WorkFacts] = {}
    for batch in _batches(provider_keys):
        values = ", ".join(f"(${n})" for n in range(4, 4 + len(batch)))
        rows = await tx.fetch(
            "SELECT v.column1 AS provider_key, (SELECT CAST(COALESCE(SUM(e.amount_micro_usd), 0) AS BIGINT)"
            " FROM provider_earnings e WHERE e.provider_key = v.column1 AND e.created_at >= $1 AND e.created_at < $2"
            " AND e.kind = 'work' AND e.amount_micro_usd > 0) AS organic,"
            " CASE WHEN EXISTS (SELECT 1 FROM provider_earnings e WHERE e.provider_key = v.column1"
            " AND e.created_at >= $3 AND e.kind = 'work' AND e.amount_micro_usd > 0) THEN 1 ELSE 0 END AS worked"
            f" FROM (VALUES {values}) AS v",
            epoch.start,
            epoch.end,
            worked_since,
            *batch,
        )
        for row in rows:
            found[cast(str, row["provider_key"])] = WorkFacts(cast(int, row["organic"]), bool(row["worked"]))
    return found


async def settled_draws(tx: Tx, epoch_id: str) -> dict[str, tuple[str, int]]:
    """Give account and amount of every draw of an epoch, by machine."""
    rows = await tx.fetch(
        "SELECT provider_key, account_id, amount_micro_usd FROM provider_floor_draws WHERE epoch_id = $1", epoch_id
    )
    return {
        cast(str, row["provider_key"]): (cast(str, row["account_id"]), cast(int, row["amount_micro_usd"]))
        for row in rows
    }


async def record_draws(tx: Tx, epoch: Epoch, draws: Sequence[Draw], now: int) -> int:
    """Write draws that are not there yet, and pay them; returns how many were written."""
    ordered = sorted(draws, key=lambda draw: (draw.claim.account_id, draw.claim.provider_key))
    written = {key for batch in _batches(ordered) for key in await _insert(tx, epoch.id, batch, now)}
    paid = [draw for draw in ordered if draw.claim.provider_key in written and draw.amount > 0]
    for draw in paid:
        await _pay(tx, epoch.id, draw, now)
    for batch in _batches(paid):
        await _record_earnings(tx, epoch.id, batch, now)
    return len(written)


async def latest_epoch_id(tx: Tx) -> str | None:
    """Give the newest epoch that has draws."""
    return cast("str | None", await tx.value("SELECT MAX(epoch_id) FROM provider_floor_draws"))


async def epoch_use(tx: Tx, epoch_id: str) -> EpochUse:
    """Give the sums of an epoch."""
    row = await tx.row(
        "SELECT COUNT(*) AS draws, CAST(COALESCE(SUM(amount_micro_usd), 0) AS BIGINT) AS amount"
        " FROM provider_floor_draws WHERE epoch_id = $1",
        epoch_id,
    )
    return EpochUse() if row is None else EpochUse(draws=cast(int, row["draws"]), amount=cast(int, row["amount"]))


async def list_draws(tx: Tx, epoch_id: str, limit: int = MAX_LISTED) -> list[DrawRow]:
    """List the draws of an epoch, the largest first."""
    rows = await tx.fetch(
        "SELECT provider_key, account_id, amount_micro_usd, floor_micro_usd, earned_micro_usd, uptime_frac, memory_gb,"
        " created_at FROM provider_floor_draws WHERE epoch_id = $1 ORDER BY amount_micro_usd DESC, provider_key"
        " LIMIT $2",
        epoch_id,
        limit,
    )
    return [
        DrawRow(
            provider_key=cast(str, row["provider_key"]),
            account_id=cast(str, row["account_id"]),
            amount=cast(int, row["amount_micro_usd"]),
            floor=cast(int, row["floor_micro_usd"]),
            organic=cast(int, row["earned_micro_usd"]),
            uptime=cast(float, row["uptime_frac"]),
            memory_gb=cast(int, row["memory_gb"]),
            created_at=cast(int, row["created_at"]),
        )
        for row in rows
    ]


async def _insert(tx: Tx, epoch_id: str, draws: Sequence[Draw], now: int) -> list[str]:
    marks: list[str] = []
    values: list[int | str | float] = [epoch_id, now]
    for draw in draws:
        n = len(values)
        marks.append(f"(${n + 1}, ${n + 2}, $1, ${n + 3}, ${n + 4}, ${n + 5}, ${n + 6}, ${n + 7}, $2)")
        claim = draw.claim
        values += [
            claim.provider_key,
            claim.account_id,
            draw.amount,
            claim.floor,
            claim.organic,
            Real(draw.uptime_ms / EPOCH_MS),
            claim.memory_gb,
        ]
    rows = await tx.fetch(
        "INSERT INTO provider_floor_draws (provider_key, account_id, epoch_id, amount_micro_usd, floor_micro_usd,"
        f" earned_micro_usd, uptime_frac, memory_gb, created_at) VALUES {', '.join(marks)}"
        " ON CONFLICT (provider_key, epoch_id) DO NOTHING RETURNING provider_key",
        *values,
    )
    return [cast(str, row["provider_key"]) for row in rows]


async def _pay(tx: Tx, epoch_id: str, draw: Draw, now: int) -> None:
    entries = [
        Entry(BASE_REWARDS, "provider_floor_draw", -draw.amount),
        Entry(draw.claim.account_id, "provider_floor_draw", draw.amount, draw.amount),
    ]
    if await post(tx, "floor", draw_reference(epoch_id, draw.claim.provider_key), entries, now) is None:
        raise Invalid("A base reward was paid before its draw was written; check the ledger.")


async def _record_earnings(tx: Tx, epoch_id: str, draws: Sequence[Draw], now: int) -> None:
    """Write the earnings and add them to the sums of machines and owners: money, not jobs or tokens."""
    marks: list[str] = []
    values: list[int | str] = [MODEL, now]
    sums: dict[tuple[str, str], int] = {}
    for draw in draws:
        n = len(values)
        marks.append(f"(${n + 1}, ${n + 2}, ${n + 3}, ${n + 4}, 'base_reward', $1, ${n + 5}, $2)")
        key, account = draw.claim.provider_key, draw.claim.account_id
        values += [account, draw.provider_id, key, draw_reference(epoch_id, key), draw.amount]
        for summary in ((account, "account"), (key, "provider")):
            sums[summary] = sums.get(summary, 0) + draw.amount
    await tx.execute(
        "INSERT INTO provider_earnings (account_id, provider_id, provider_key, job_id, kind, model, amount_micro_usd,"
        f" created_at) VALUES {', '.join(marks)}",
        *values,
    )
    # In one order everywhere, so that two transactions never wait for each other's rows.
    totals: list[int | str] = [now]
    rows: list[str] = []
    for (key, key_type), amount in sorted(sums.items(), key=lambda item: (item[0][1], item[0][0])):
        n = len(totals)
        rows.append(f"(${n + 1}, ${n + 2}, ${n + 3}, ${n + 3}, $1)")
        totals += [key, key_type, amount]
    await tx.execute(
        "INSERT INTO earnings_summary (key, key_type, total_micro_usd, total_base_reward_micro_usd, updated_at)"
        f" VALUES {', '.join(rows)} ON CONFLICT (key, key_type) DO UPDATE SET"
        " total_micro_usd = earnings_summary.total_micro_usd + excluded.total_micro_usd,"
        " total_base_reward_micro_usd ="
        " earnings_summary.total_base_reward_micro_usd + excluded.total_base_reward_micro_usd,"
        " updated_at = excluded.updated_at",
        *totals,
    )


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
