"""Stores for tests: migrated, empty, on either engine, each test with a database of its own."""

from __future__ import annotations

import atexit
import itertools
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import trio

from server.store.address import Memory, Postgres, SqliteFile
from server.store.dialect import EngineKind
from server.store.engine import Store
from server.store.open import opened
from server.store.postgres import AsyncioBridge, PostgresConnection, open_bridge
from tests.testbed.postgres_server import shared_server

# Read at import: the tests themselves run without settings of the environment.
GIVEN_URL = os.environ.get("DARKBLOOM_TEST_DATABASE_URL")

_START = 1_750_000_000_000_000
_template: list[str] = []


def ticking_clock(start: int = _START) -> Callable[[], int]:
    """Return a wall clock in microseconds that goes on by one at each reading."""
    return itertools.count(start).__next__


@asynccontextmanager
async def open_test_store(
    kind: EngineKind, path: Path | None = None, *, on_statement: Callable[[str], None] | None = None
) -> AsyncGenerator[Store, None]:
    """Yield an empty store; SQLite is in memory unless `path` names a file.

    Do not combine a file or PostgreSQL with `autojump_clock`: the clock does not see that a thread or a server is at
    work. Raises NoServer when PostgreSQL cannot be had.
    """
    if kind == "sqlite":
        address = Memory() if path is None else SqliteFile(path)
        async with opened(address, wall_clock=ticking_clock(), on_statement=on_statement) as store:
            yield store
        return
    async with (
        postgres_database() as url,
        opened(Postgres(url), wall_clock=ticking_clock(), on_statement=on_statement) as store,
    ):
        yield store


@asynccontextmanager
async def postgres_database(*, migrated: bool = True) -> AsyncGenerator[str, None]:
    """Yield the address of a database of its own; it is dropped afterwards."""
    base = GIVEN_URL or shared_server().url()
    if migrated and not _template:
        _template.append(await _make_template(base))
    name = f"db_{secrets.token_hex(6)}"
    source = _template[0] if migrated else "template0"
    await _administer(base, f"CREATE DATABASE {name} TEMPLATE {source}", copying=True)
    try:
        yield _with_database(base, name)
    finally:
        await _administer(base, f"DROP DATABASE {name} WITH (FORCE)")


async def _make_template(base: str) -> str:
    name = f"tpl_{secrets.token_hex(6)}"
    await _administer(base, f"CREATE DATABASE {name} TEMPLATE template0")
    if GIVEN_URL:
        # A server of the session takes its databases along; this one stays.
        atexit.register(lambda: trio.run(_administer, base, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    async with opened(Postgres(_with_database(base, name)), wall_clock=ticking_clock()):
        pass
    return name


async def _administer(base: str, statement: str, *, copying: bool = False) -> None:
    async with open_bridge() as bridge:
        connection = await _connect(bridge, base)
        try:
            # Copying files is twice as fast as logging their pages; older servers know nothing else.
            faster = " STRATEGY = FILE_COPY" if copying and connection.server_major >= 15 else ""
            await connection.execute(statement + faster)
        finally:
            await connection.close()


async def _connect(bridge: AsyncioBridge, url: str) -> PostgresConnection:
    return await PostgresConnection.connect(bridge, url, {"application_name": "darkbloom tests"})


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
