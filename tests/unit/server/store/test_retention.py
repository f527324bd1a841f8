"""Retention: each table of the rules loses what is too old, in batches, and money is never touched."""

from __future__ import annotations

import re
from functools import partial

import pytest

from server.store import Store, Tx
from server.store.migrations import MIGRATIONS
from server.store.retention import Retention, Rule, prune, rules
from tests.testbed.store import open_test_store

DAY = 24 * 3600 * 1_000_000
NOW = 1_000 * DAY
FOREVER = {
    "ledger_txns", "ledger_entries", "balances", "stripe_withdrawals", "billing_sessions", "provider_earnings",
    "earnings_summary", "provider_floor_draws", "invite_redemptions", "referrals", "usage", "users", "api_keys",
}  # fmt: skip


def _columns(table: str) -> dict[str, str]:
    """Columns that an insert must name, with their type tokens."""
    script = "\n".join(statement for migration in MIGRATIONS for statement in migration.statements)
    found = re.search(rf"CREATE TABLE {table} \((.*?)\n\)", script, re.DOTALL)
    assert found is not None, table
    needed = {}
    for line in found.group(1).splitlines():
        words = line.strip().rstrip(",").split()
        if len(words) > 1 and ("NOT NULL" in line or "PRIMARY KEY" in line) and "DEFAULT" not in line:
            needed[words[0]] = words[1]
    return {name: kind for name, kind in needed.items() if kind in {"@I", "TEXT", "@B", "@R"}}


async def _insert(store: Store, rule: Rule, key: int, at: int) -> None:
    values: dict[str, object] = {"TEXT": "x", "@I": 1, "@B": b"x"}
    row = {name: values[kind] for name, kind in _columns(rule.table).items()}
    row[rule.column] = at
    row[rule.key] = key if rule.key == "id" and rule.table != "telemetry_events" else f"key-{key}"
    for unique in {"request_id", "session_id", "user_code"} & row.keys():
        row[unique] = f"u-{key}"
    row.update({"state": "settled"} if rule.table == "reservations" else {})
    row.update({"status": "pending"} if rule.table == "device_codes" else {})
    row.update({"mode": "local"} if rule.table == "web_sessions" else {})
    names = ", ".join(row)
    marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    sql = f"INSERT INTO {rule.table} ({names}) VALUES ({marks})"
    await store.write(lambda tx: tx.execute(sql, *row.values()))  # type: ignore[arg-type]


async def _left(store: Store, rule: Rule) -> list[object]:
    rows = await store.read(lambda tx: tx.fetch(f"SELECT {rule.column} AS at FROM {rule.table} ORDER BY 1"))
    return [row["at"] for row in rows]


async def test_rows_go_when_they_are_older_than_their_rule(store: Store) -> None:
    for rule in rules():
        limit = NOW - rule.keep_seconds * 1_000_000
        for key, at in enumerate((limit - 1, limit, NOW), start=1):
            await _insert(store, rule, key, at)
    deleted = await prune(store, NOW, rules())
    assert deleted == {rule.table: 1 for rule in rules()}
    for rule in rules():
        assert await _left(store, rule) == [NOW - rule.keep_seconds * 1_000_000, NOW], rule.table
    assert await prune(store, NOW, rules()) == {}


async def test_open_holds_stay_however_old(store: Store) -> None:
    (rule,) = [rule for rule in rules() if rule.table == "reservations"]
    await _insert(store, rule, 1, 0)
    await store.write(lambda tx: tx.execute("UPDATE reservations SET state = 'held'"))
    assert await prune(store, NOW, [rule]) == {}


async def test_batches_and_row_limits(store: Store) -> None:
    rule = Rule(table="request_rejections", key="id", column="created_at", keep_seconds=10, most_rows=3)
    for key in range(1, 24):
        await _insert(store, rule, key, 0 if key <= 12 else NOW + key)
    batches = 0
    upkeep = store.upkeep

    async def counted(work):  # type: ignore[no-untyped-def]
        nonlocal batches
        batches += 1
        return await upkeep(work)

    store.upkeep = counted  # type: ignore[method-assign]
    assert await prune(store, NOW, [rule], batch_rows=5) == {"request_rejections": 12 + 8}
    assert batches == 3 + 2
    assert await _left(store, rule) == [NOW + 21, NOW + 22, NOW + 23]


@pytest.mark.parametrize("throwaway", [False, True])
def test_money_tables_have_no_rule(throwaway: bool) -> None:
    assert not FOREVER & {rule.table for rule in rules(throwaway=throwaway)}


def test_settings_move_the_limits() -> None:
    kept = {rule.table: rule for rule in rules(Retention(profiles_seconds=5, telemetry_rows=7))}
    assert kept["request_profiles"].keep_seconds == 5
    assert kept["telemetry_events"].most_rows == 7
    in_memory = {rule.table: rule.most_rows for rule in rules(throwaway=True)}
    assert in_memory["inference_routes"] == 100_000


async def test_every_rule_finds_its_rows_by_an_index() -> None:
    async def plan(tx: Tx, rule: Rule) -> str:
        sql = f"EXPLAIN QUERY PLAN SELECT {rule.key} FROM {rule.table} WHERE {rule.only}{rule.column} < 5"
        return " ".join(str(row["detail"]) for row in await tx.fetch(sql))

    async with open_test_store("sqlite") as store:
        for rule in rules():
            if rule.table != "setup_tokens":
                assert "USING" in await store.read(partial(plan, rule=rule)), rule.table
