"""What is deleted and when: an hourly job that removes old rows in batches; money rows stay forever.

Invariant: no row of the ledger, balances, usage, earnings, deposits, withdrawals, redemptions or referrals is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from server.store.engine import Store, Tx
from server.store.named_locks import run_under_lock

_log = logging.getLogger("darkbloom.store")

BATCH_ROWS: Final = 5_000
_MOST_BATCHES: Final = 400
_HOUR: Final = 3_600
_DAY: Final = 24 * _HOUR
_MICROSECONDS: Final = 1_000_000
_FIRST_RUN_SECONDS: Final = 60.0
_LOCK_SECONDS: Final = 600.0
_EVERY_SECONDS: Final = 3_600.0
_EVERY_SECONDS_IN_MEMORY: Final = 900.0
_ROWS_IN_MEMORY: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Rows of `table` (found by `key`) whose `column` is older than `keep_seconds` are deleted."""

    table: str
    key: str
    column: str
    keep_seconds: int
    only: str = ""
    most_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long the diagnostic tables are kept, in seconds."""

    profiles_seconds: int = 14 * _DAY
    fleet_seconds: int = 30 * _DAY
    telemetry_seconds: int = 7 * _DAY
    telemetry_rows: int = 100_000


def rules(retention: Retention = Retention(), *, throwaway: bool = False) -> tuple[Rule, ...]:
    """Return the rules; a store in memory also keeps at most 100,000 rows of each history table."""
    most = _ROWS_IN_MEMORY if throwaway else None
    telemetry_rows = retention.telemetry_rows if most is None else min(retention.telemetry_rows, most)
    return (
        Rule(
            table="reservations",
            key="request_id",
            column="closed_at",
            keep_seconds=30 * _DAY,
            only="state <> 'held' AND ",
        ),
        Rule(table="stripe_events", key="event_id", column="received_at", keep_seconds=90 * _DAY),
        Rule(table="device_codes", key="device_code_hash", column="expires_at", keep_seconds=_HOUR),
        Rule(table="web_sessions", key="token_hash", column="expires_at", keep_seconds=30 * _DAY),
        Rule(table="setup_tokens", key="token_hash", column="expires_at", keep_seconds=30 * _DAY),
        Rule(table="inference_routes", key="id", column="created_at", keep_seconds=30 * _DAY, most_rows=most),
        Rule(table="request_rejections", key="id", column="created_at", keep_seconds=30 * _DAY, most_rows=most),
        Rule(
            table="request_profiles",
            key="id",
            column="created_at",
            keep_seconds=retention.profiles_seconds,
            most_rows=most,
        ),
        Rule(table="fleet_snapshots", key="id", column="at", keep_seconds=retention.fleet_seconds, most_rows=most),
        Rule(
            table="telemetry_events",
            key="id",
            column="received_at",
            keep_seconds=retention.telemetry_seconds,
            most_rows=telemetry_rows,
        ),
        Rule(table="ttft_ratios", key="subject", column="updated_at", keep_seconds=30 * _DAY),
        Rule(table="demand_profiles", key="model", column="updated_at", keep_seconds=60 * _DAY),
        Rule(table="provider_log_reports", key="id", column="created_at", keep_seconds=14 * _DAY),
        Rule(table="provider_sessions", key="id", column="last_seen", keep_seconds=400 * _DAY, most_rows=most),
        Rule(table="receipts", key="hash", column="created_at", keep_seconds=90 * _DAY, most_rows=most),
    )


async def prune(store: Store, now: int, applied: Sequence[Rule], *, batch_rows: int = BATCH_ROWS) -> Mapping[str, int]:
    """Delete what the rules name, each batch in a transaction of its own; return the rows deleted by table.

    One call deletes at most 400 batches of a table; the rest waits for the next one.
    """
    deleted: dict[str, int] = {}
    for rule in applied:
        count = await _repeat(store, _by_age(rule), (now - rule.keep_seconds * _MICROSECONDS,), batch_rows)
        if rule.most_rows is not None:
            count += await _repeat(store, _by_count(rule), (rule.most_rows,), batch_rows)
        if count:
            deleted[rule.table] = count
    return deleted


async def retention_job(
    store: Store,
    *,
    wall_clock: Callable[[], int],
    holder: str,
    retention: Retention = Retention(),
    throwaway: bool = False,
) -> None:
    """Prune every hour (every 15 minutes in memory) until cancelled; one process at a time."""
    applied = rules(retention, throwaway=throwaway)
    await trio.sleep(_FIRST_RUN_SECONDS)
    while True:

        async def once() -> None:
            deleted = await prune(store, wall_clock(), applied)
            if deleted:
                _log.info("old rows deleted", extra={"rows": dict(deleted)})

        await run_under_lock(store, "retention", once, holder=holder, ttl_seconds=_LOCK_SECONDS, wall_clock=wall_clock)
        await trio.sleep(_EVERY_SECONDS_IN_MEMORY if throwaway else _EVERY_SECONDS)


def _by_age(rule: Rule) -> str:
    return (
        f"DELETE FROM {rule.table} WHERE {rule.key} IN "
        f"(SELECT {rule.key} FROM {rule.table} WHERE {rule.only}{rule.column} < $1 LIMIT $2)"
    )


def _by_count(rule: Rule) -> str:
    return (
        f"DELETE FROM {rule.table} WHERE {rule.key} IN (SELECT {rule.key} FROM {rule.table} "
        f"ORDER BY {rule.column} DESC, {rule.key} DESC LIMIT $2 OFFSET $1)"
    )


async def _repeat(store: Store, sql: str, args: tuple[int, ...], batch_rows: int) -> int:
    total = 0
    for _ in range(_MOST_BATCHES):

        async def batch(tx: Tx) -> int:
            return await tx.execute(sql, *args, batch_rows)

        count = await store.upkeep(batch)
        total += count
        if count < batch_rows:
            break
        await trio.lowlevel.checkpoint()
    return total
