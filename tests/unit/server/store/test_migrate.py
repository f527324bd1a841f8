"""Migrations: once, in order, whole; an edited or newer history stops the start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import pytest

from server.store import Row, Store, StoreError, Tx
from server.store.dialect import EngineKind
from server.store.errors_at_start import StoreCannotOpen
from server.store.migrate import Applied, migrate, missing_migrations, read_history
from server.store.migration import Migration, statements
from server.store.migrations import MIGRATIONS
from server.store.sqlite import SqliteStore
from tests.testbed.store import ticking_clock

KINDS: Final[tuple[EngineKind, ...]] = ("sqlite", "postgres")


async def _fetch(tx: Tx, sql: str) -> list[Row]:
    return await tx.fetch(sql)


def _history(kind: EngineKind, known: Sequence[Migration] = MIGRATIONS) -> list[Applied]:
    return [Applied(version=step.version, name=step.name, checksum=step.checksum(kind)) for step in known]


async def test_store_has_every_migration_and_its_checksum(store: Store) -> None:
    history = await store.read(read_history)
    assert list(history) == _history(store.kind)
    assert missing_migrations(history, store.kind) == ()
    applied = await store.read(lambda tx: tx.fetch("SELECT applied_at FROM schema_migrations ORDER BY version"))
    times = [row["applied_at"] for row in applied]
    assert times == sorted(set(times))  # type: ignore[type-var]


def test_versions_are_numbered_without_gaps() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert len({step.name for step in MIGRATIONS}) == len(MIGRATIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_edited_history_names_the_migration(kind: EngineKind) -> None:
    history = _history(kind)
    history[1] = replace(history[1], checksum="0" * 64)
    with pytest.raises(StoreCannotOpen, match="0002_money of the database differs"):
        missing_migrations(history, kind)
    history = _history(kind)
    history[0] = replace(history[0], name="renamed")
    with pytest.raises(StoreCannotOpen, match="0001_renamed"):
        missing_migrations(history, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_newer_database_asks_for_the_newer_program(kind: EngineKind) -> None:
    newer = Applied(version=len(MIGRATIONS) + 1, name="later", checksum="x")
    with pytest.raises(StoreCannotOpen, match=r"newer than this program: it has migration 0\d\d\d_later"):
        missing_migrations([*_history(kind), newer], kind)


def test_hole_in_the_history_is_refused() -> None:
    history = _history("sqlite")
    del history[1]
    with pytest.raises(StoreCannotOpen, match="0002_money is missing"):
        missing_migrations(history, "sqlite")


def test_checksum_ignores_layout_and_sees_every_other_change() -> None:
    first = Migration(version=1, name="x", statements=("CREATE TABLE t (a @I)@S",))
    same = Migration(version=1, name="x", statements=("CREATE  TABLE t\n (a @I)@S",))
    other = Migration(version=1, name="x", statements=("CREATE TABLE t (b @I)@S",))
    assert first.checksum("sqlite") == same.checksum("sqlite") != other.checksum("sqlite")
    assert first.checksum("sqlite") != first.checksum("postgres")


def test_script_splits_at_statement_ends() -> None:
    assert statements("CREATE TABLE a (x TEXT DEFAULT ';');\nCREATE TABLE b (y TEXT);\n") == (
        "CREATE TABLE a (x TEXT DEFAULT ';')",
        "CREATE TABLE b (y TEXT)",
    )


async def test_new_migration_is_applied_once_with_its_data_step() -> None:
    async def fill(tx: Tx) -> None:
        await tx.execute("INSERT INTO t (a) SELECT expires_at FROM locks")

    added = Migration(
        version=len(MIGRATIONS) + 1, name="added", statements=("CREATE TABLE t (a @I NOT NULL)@S",), data=fill
    )
    known = (*MIGRATIONS, added)
    store, clock = SqliteStore(None), ticking_clock()
    assert await migrate(store, wall_clock=clock) == MIGRATIONS
    await store.write(lambda tx: tx.execute("INSERT INTO locks (name, holder, expires_at) VALUES ('a', 'b', 7)"))
    assert await migrate(store, wall_clock=clock, known=known) == (added,)
    assert await migrate(store, wall_clock=clock, known=known) == ()
    assert await store.read(lambda tx: tx.value("SELECT a FROM t")) == 7
    await store.aclose()


async def test_failing_migration_leaves_nothing_behind() -> None:
    broken = Migration(
        version=len(MIGRATIONS) + 1, name="broken", statements=("CREATE TABLE t (a @I)@S", "CREATE TABLE t (a @I)@S")
    )
    store, clock = SqliteStore(None), ticking_clock()
    await migrate(store, wall_clock=clock)
    with pytest.raises(StoreError, match="already exists"):
        await migrate(store, wall_clock=clock, known=(*MIGRATIONS, broken))
    with pytest.raises(StoreError, match="no such table: t"):
        await store.read(lambda tx: tx.fetch("SELECT a FROM t"))
    assert len(await store.read(read_history)) == len(MIGRATIONS)
    await store.aclose()


async def test_both_engines_have_the_same_tables_and_columns(store: Store) -> None:
    expected: dict[str, list[str]] = {}
    reference = SqliteStore(None)
    await migrate(reference, wall_clock=ticking_clock())
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    for row in await reference.read(lambda tx: tx.fetch(tables)):
        name = str(row["name"])
        columns = await reference.read(partial(_fetch, sql=f"SELECT name FROM pragma_table_info('{name}')"))
        expected[name] = [str(column["name"]) for column in columns]
    await reference.aclose()
    assert len(expected) == 59

    for name, listed in expected.items():
        # Each column can be named in a query: the table is there, and so is the column.
        query = f"SELECT {', '.join(listed)} FROM {name}"
        await store.read(partial(_fetch, sql=query))
