"""SQLite as a file: durability, one process, busy files, cancelled readers, deadlines."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from server.store import StoreError, StoreUnavailable, Tx
from server.store import sqlite as module
from server.store.errors_at_start import StoreCannotOpen
from server.store.sqlite import COMMITTED, SqliteStore
from tests.testbed.store import open_test_store

INSERT = "INSERT INTO locks (name, holder, expires_at) VALUES ($1, $2, $3)"
SLOW = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT COUNT(*) FROM n
"""
COUNT = "SELECT COUNT(*) FROM locks"
ROOT = Path(__file__).parents[4]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator data.db"


async def test_rows_survive_and_the_file_is_private(path: Path) -> None:
    async with open_test_store("sqlite", path) as store:
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))
        modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {path.name, path.name + ".lock", path.name + "-wal"} <= set(modes)
    async with open_test_store("sqlite", path) as store:
        assert await store.read(lambda tx: tx.value(COUNT)) == 1


async def test_pragmas_are_set(path: Path) -> None:
    async def pragmas(tx: Tx) -> list[object]:
        return [await tx.value(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")]

    async with open_test_store("sqlite", path) as store:
        assert await store.write(pragmas) == ["wal", 2, 1]
        assert (await store.read(pragmas))[2] == 1


async def test_second_coordinator_on_one_file_is_refused(path: Path) -> None:
    async with open_test_store("sqlite", path):
        with pytest.raises(StoreCannotOpen, match="database is in use by another coordinator"):
            async with open_test_store("sqlite", path):
                pytest.fail("it opened")
    async with open_test_store("sqlite", path) as store:
        await store.ping()


async def test_missing_folder_and_foreign_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreCannotOpen, match="create its folder"):
        async with open_test_store("sqlite", tmp_path / "none" / "x.db"):
            pytest.fail("it opened")
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"this is not a database, " * 100)
    with pytest.raises(StoreCannotOpen, match="cannot be opened"):
        async with open_test_store("sqlite", foreign):
            pytest.fail("it opened")


async def test_readers_see_one_snapshot_and_do_not_wait_for_a_writer(path: Path) -> None:
    async with open_test_store("sqlite", path) as store:
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))
        read_once, written = trio.Event(), trio.Event()

        async def read_twice(tx: Tx) -> list[object]:
            first = await tx.value(COUNT)
            read_once.set()
            await written.wait()
            return [first, await tx.value(COUNT)]

        async def write() -> None:
            await read_once.wait()
            await store.write(lambda tx: tx.execute(INSERT, "b", "h", 1))
            written.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await store.read(read_twice) == [1, 1]
        assert await store.read(lambda tx: tx.value(COUNT)) == 2


async def test_cancelled_read_ends_its_statement_and_keeps_the_connection(path: Path) -> None:
    async with open_test_store("sqlite", path) as store:
        for _ in range(2 * module.READERS):
            with trio.fail_after(5), trio.move_on_after(0.02) as scope:
                await store.read(lambda tx: tx.fetch(SLOW))
            assert scope.cancelled_caught
        assert await store.read(lambda tx: tx.value("SELECT 1")) == 1


async def test_read_and_statistics_have_deadlines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_SECONDS", 0.05)
    monkeypatch.setattr(module, "STATISTICS_SECONDS", 0.05)
    async with open_test_store("sqlite", path) as store:
        for run in (store.read, store.statistics, store.upkeep):
            with pytest.raises(StoreUnavailable, match=r"within 0\.05 s"):
                await run(lambda tx: tx.fetch(SLOW))
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))


async def test_write_past_its_deadline_is_rolled_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.05)

    async def work(tx: Tx) -> None:
        await tx.execute(INSERT, "a", "h", 1)
        await trio.sleep_forever()

    async with open_test_store("sqlite", path) as store:
        with pytest.raises(StoreUnavailable, match="did not finish a transaction"):
            await store.write(work)
        assert await store.read(lambda tx: tx.value(COUNT)) == 0


async def test_write_waits_for_another_program_without_stopping_the_loop(path: Path) -> None:
    async with open_test_store("sqlite", path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.write, lambda tx: tx.execute(INSERT, "a", "h", 1))
            for _ in range(20):
                await trio.testing.wait_all_tasks_blocked(0.001)
            assert await store.read(lambda tx: tx.value(COUNT)) == 0
            other.execute("ROLLBACK")
        other.close()
        assert await store.read(lambda tx: tx.value(COUNT)) == 1


async def test_file_that_stays_busy_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.sqlite_connection._BUSY_MILLISECONDS", 1)
    async with open_test_store("sqlite", path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="conflicting work 5 times"):
            await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))
        other.close()


async def test_random_cancellation_leaves_every_connection_usable(path: Path) -> None:
    committed = 0
    async with open_test_store("sqlite", path) as store:

        async def write(number: int) -> None:
            nonlocal committed
            await store.write(lambda tx: tx.execute(INSERT, f"n{number}", "h", 1))
            committed += 1

        async def one(number: int) -> None:
            with trio.move_on_after(0.0001 * (number % 97)):
                if number % 3:
                    await store.read(lambda tx: tx.fetch("SELECT name FROM locks"))
                else:
                    await write(number)

        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(one, number)
        assert await store.read(lambda tx: tx.value(COUNT)) == committed
        await store.ping()


async def test_hook_hears_every_statement_of_a_write(path: Path) -> None:
    heard: list[str] = []
    async with open_test_store("sqlite", path, on_statement=heard.append) as store:
        heard.clear()
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))
    assert heard == ["BEGIN IMMEDIATE", INSERT, "COMMIT", COMMITTED]


async def test_transaction_inside_a_transaction_is_a_mistake_and_not_a_deadlock(path: Path) -> None:
    async with open_test_store("sqlite", path) as store:
        with pytest.raises(RuntimeError), trio.fail_after(1):
            await store.write(lambda tx: store.write(lambda inner: inner.fetch("SELECT 1")))
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))


async def test_closed_store_says_so(path: Path) -> None:
    async with open_test_store("sqlite", path) as store:
        await store.read(lambda tx: tx.value("SELECT 1"))
    for run in (store.write, store.read):
        with pytest.raises(StoreUnavailable, match="is closed"):
            await run(lambda tx: tx.fetch("SELECT 1"))


@pytest.mark.parametrize("kill_at", ["INSERT", "COMMIT", COMMITTED])
def test_killed_process_leaves_whole_transactions(path: Path, kill_at: str) -> None:
    program = f"""
import os, signal, sys, trio
from pathlib import Path
from tests.testbed.store import open_test_store

def hook(sql):
    if armed and sql.startswith({kill_at!r}):
        os.kill(os.getpid(), signal.SIGKILL)

armed = []

async def main():
    async with open_test_store("sqlite", Path(sys.argv[1]), on_statement=hook) as store:
        async def work(tx):
            for name in "ab":
                await tx.execute({INSERT!r}, name, "h", 1)
        armed.append(True)
        await store.write(work)

trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr

    async def count() -> object:
        async with open_test_store("sqlite", path) as store:
            return await store.read(lambda tx: tx.value(COUNT))

    assert trio.run(count) == (2 if kill_at == COMMITTED else 0)


async def test_reads_of_a_store_in_memory_cannot_write() -> None:
    async with open_test_store("sqlite") as store:
        assert isinstance(store, SqliteStore)
        assert store.throwaway
        with pytest.raises(StoreError, match="use `write`"):
            await store.read(lambda tx: tx.execute(INSERT, "a", "h", 1))
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 1))
