"""PostgreSQL in bad weather: cancelled tasks, killed sessions, deadlocks, a server that goes away and comes back."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from server.store import StoreUnavailable, Tx
from server.store import postgres_store as module
from server.store.address import Postgres
from server.store.errors_at_start import StoreCannotOpen
from server.store.open import opened
from server.store.postgres_store import COMMITTED, PostgresStore
from tests.testbed.postgres_server import PostgresServer
from tests.testbed.store import open_test_store, ticking_clock

INSERT = "INSERT INTO locks (name, holder, expires_at) VALUES ($1, $2, $3)"
SESSIONS = (
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
)
STUCK = SESSIONS + " AND state LIKE 'idle in transaction%'"


async def _tick(tx: Tx) -> None:
    changed = await tx.execute("UPDATE locks SET expires_at = expires_at + 1 WHERE name = 'ticks'")
    assert changed == 1


async def test_random_cancellation_leaks_no_connection(postgres_store: PostgresStore) -> None:
    store, dice = postgres_store, random.Random(11)
    await store.write(lambda tx: tx.execute(INSERT, "ticks", "h", 0))
    committed = 0

    async def write() -> None:
        nonlocal committed
        await store.write(_tick)
        committed += 1

    async def read() -> None:
        await store.read(lambda tx: tx.value("SELECT CAST(pg_sleep(0.002) AS TEXT)"))

    async def cancelled_soon(work: object) -> None:
        with trio.move_on_after(dice.uniform(0, 0.012)):
            await work()  # type: ignore[operator]

    for _ in range(25):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(cancelled_soon, dice.choice([read, read, read, write]))
    pool, slow = store.pools
    assert (pool.lent, slow.lent) == (0, 0)
    assert await store.read(lambda tx: tx.value(STUCK)) == 0
    assert pool.free <= module.POOL_MOST
    with trio.fail_after(5):
        # Sessions that were cut while they connected end on the server a moment later.
        while await store.read(lambda tx: tx.value(SESSIONS)) != pool.free:
            await trio.testing.wait_all_tasks_blocked(0.01)
    # Every write that began has committed, cancelled or not; each call either began or never ran.
    assert await store.read(lambda tx: tx.value("SELECT expires_at FROM locks")) == committed
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(read)
    await store.ping()


async def test_deadlocked_writers_are_tried_again(postgres_store: PostgresStore) -> None:
    store = postgres_store
    await store.write(lambda tx: tx.execute(INSERT, "a", "h", 0))
    await store.write(lambda tx: tx.execute(INSERT, "b", "h", 0))
    both = {"a": trio.Event(), "b": trio.Event()}
    tries = 0

    async def add(first: str, second: str) -> None:
        async def work(tx: Tx) -> None:
            nonlocal tries
            tries += 1
            await tx.execute("UPDATE locks SET expires_at = expires_at + 1 WHERE name = $1", first)
            both[first].set()
            await both[second].wait()
            await tx.execute("UPDATE locks SET expires_at = expires_at + 1 WHERE name = $1", second)

        await store.write(work)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(add, "a", "b")
        nursery.start_soon(add, "b", "a")
    rows = await store.read(lambda tx: tx.fetch("SELECT expires_at FROM locks"))
    assert [row["expires_at"] for row in rows] == [2, 2]
    assert tries == 3


async def test_killed_session_is_replaced_and_the_work_runs_again(postgres_store: PostgresStore) -> None:
    store = postgres_store
    runs = 0

    async def work(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        await tx.execute(INSERT, "a", "h", 0)
        if runs == 1:
            own = await tx.value("SELECT pg_backend_pid()")
            await store.statistics(lambda tx: tx.fetch("SELECT pg_terminate_backend(CAST($1 AS INT))", own))
        await tx.execute("UPDATE locks SET expires_at = 1")

    await store.write(work)
    assert runs == 2
    assert await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM locks WHERE expires_at = 1")) == 1


async def test_write_past_its_deadline_is_rolled_back(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.2)

    async def work(tx: Tx) -> None:
        await tx.execute(INSERT, "a", "h", 0)
        await tx.fetch("SELECT CAST(pg_sleep(3) AS TEXT)")

    began = trio.current_time()
    with pytest.raises(StoreUnavailable, match=r"within 0\.2 s"):
        await postgres_store.write(work)
    assert trio.current_time() - began < 2
    assert await postgres_store.read(lambda tx: tx.value("SELECT COUNT(*) FROM locks")) == 0
    assert await postgres_store.read(lambda tx: tx.value(STUCK)) == 0


async def test_work_may_go_on_after_a_statement_that_it_gave_up(postgres_store: PostgresStore) -> None:
    async def work(tx: Tx) -> object:
        with trio.move_on_after(0.05):
            await tx.fetch("SELECT CAST(pg_sleep(3) AS TEXT)")
        return await tx.value("SELECT COUNT(*) FROM locks")

    began = trio.current_time()
    assert await postgres_store.read(work) == 0
    assert trio.current_time() - began < 2


async def test_statement_past_the_server_limit_says_so(postgres_store: PostgresStore) -> None:
    async def work(tx: Tx) -> None:
        await tx.execute("SET LOCAL statement_timeout = '50ms'")
        await tx.fetch("SELECT CAST(pg_sleep(3) AS TEXT)")

    with pytest.raises(StoreUnavailable, match="time limit"):
        await postgres_store.write(work)


async def test_statistics_have_connections_of_their_own(postgres_store: PostgresStore) -> None:
    store = postgres_store
    release = trio.Event()

    async def hold(tx: Tx) -> None:
        await tx.fetch("SELECT 1")
        await release.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(module.STATISTICS_MOST + 2):
            nursery.start_soon(store.statistics, hold)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert store.pools[1].lent == module.STATISTICS_MOST
        assert await store.read(lambda tx: tx.value("SELECT 1")) == 1
        release.set()


async def test_ping_fails_when_all_connections_stay_in_use(
    postgres_store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = postgres_store
    release = trio.Event()

    async def hold(tx: Tx) -> None:
        await tx.fetch("SELECT 1")
        await release.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(module.POOL_MOST):
            nursery.start_soon(store.read, hold)
        while store.pools[0].lent < module.POOL_MOST:
            await trio.testing.wait_all_tasks_blocked(0.01)
        await store.ping()
        monkeypatch.setattr(module, "EXHAUSTED_SECONDS", 0.05)
        while store.pools[0].exhausted_seconds() < 0.05:
            await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(StoreUnavailable, match="All 20 database connections"):
            await store.ping()
        release.set()
    await store.ping()


async def test_server_goes_and_comes_back_under_load(own_postgres: PostgresServer) -> None:
    server = own_postgres
    done: list[str] = []

    async with opened(Postgres(server.url()), wall_clock=ticking_clock()) as store:
        await store.write(lambda tx: tx.execute(INSERT, "ticks", "h", 0))
        stop = False

        async def work() -> None:
            while not stop:
                try:
                    await store.write(_tick)
                    await store.read(lambda tx: tx.value("SELECT 1"))
                    done.append("ok")
                except StoreUnavailable:
                    done.append("unavailable")
                    await trio.lowlevel.checkpoint()

        async def until(what: str, times: int) -> None:
            start = len(done)
            with trio.fail_after(20):
                while done[start:].count(what) < times:
                    await trio.testing.wait_all_tasks_blocked(0.001)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(work)
            await until("ok", 40)
            await trio.to_thread.run_sync(server.stop)
            await until("unavailable", 20)
            with pytest.raises(StoreUnavailable):
                await store.ping()
            await trio.to_thread.run_sync(server.start)
            await until("ok", 40)
            stop = True
        await store.ping()
        assert isinstance(store, PostgresStore)
        assert [pool.lent for pool in store.pools] == [0, 0]
        assert await store.read(lambda tx: tx.value(STUCK)) == 0


async def test_two_programs_migrate_the_same_database_once(empty_postgres_url: str) -> None:
    counts: list[object] = []

    async def start() -> None:
        async with opened(Postgres(empty_postgres_url), wall_clock=ticking_clock()) as store:
            counts.append(await store.read(lambda tx: tx.value("SELECT COUNT(*) FROM schema_migrations")))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(start)
    assert counts == [counts[0]] * 3


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret-pass@127.0.0.1:9/name",
        "postgresql://user:s3cret-pass@/name?host=/nonexistent",
        "postgresql://user:s3cret-pass@127.0.0.1:9/name?sslmode=nonsense-s3cret-pass",
    ],
)
async def test_dead_server_stops_the_start_without_the_password(url: str) -> None:
    with pytest.raises(StoreCannotOpen) as error:
        async with opened(Postgres(url), wall_clock=ticking_clock()):
            pytest.fail("it opened")
    assert "s3cret-pass" not in str(error.value)
    assert "s3cret-pass" not in repr(Postgres(url))
    assert "PostgreSQL database name" in str(error.value)


async def test_hook_hears_every_statement_of_a_write() -> None:
    heard: list[str] = []
    async with open_test_store("postgres", on_statement=heard.append) as store:
        heard.clear()
        await store.write(lambda tx: tx.execute(INSERT, "a", "h", 0))
    assert heard == ["BEGIN READ WRITE", INSERT, "COMMIT", COMMITTED]
