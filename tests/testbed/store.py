"""Stores for tests: migrated, empty, on either engine, each test with a database of its own.

Migrating takes many times as long as most tests, so it is done once in a process: a database starts as a copy of a
migrated one. The tests of the store itself open theirs as a coordinator does (`server.store.open`).
"""

from __future__ import annotations

import atexit
import itertools
import os
import secrets
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import trio

from server.store.address import Memory, Postgres, SqliteFile
from server.store.dialect import EngineKind
from server.store.engine import Store
from server.store.open import opened
from server.store.postgres import PostgresConnection, open_bridge
from server.store.postgres_store import PostgresStore
from server.store.sqlite import SqliteStore
from tests.testbed.postgres_server import shared_server

# Read at import: the tests themselves run without settings of the environment.
GIVEN_URL = os.environ.get("DARKBLOOM_TEST_DATABASE_URL")

_START = 1_750_000_000_000_000
_template: list[str] = []
_memory_template: list[sqlite3.Connection] = []


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
    if kind == "postgres":
        async with postgres_database() as url, open_bridge() as bridge:
            # Connections are made as the test needs them: a pool that is warmed up costs more than most tests.
            pooled = PostgresStore(bridge, url, on_statement=on_statement)
            try:
                yield pooled
            finally:
                await pooled.aclose()
    elif path is not None:
        async with opened(SqliteFile(path), wall_clock=ticking_clock(), on_statement=on_statement) as store:
            yield store
    else:
        memory = SqliteStore(None, on_statement=on_statement)
        try:
            (await _migrated_memory()).backup(memory._writer._connection)
            yield memory
        finally:
            await memory.aclose()


async def make_sqlite_file(path: Path) -> None:
    """Make an empty, migrated SQLite file."""
    path.write_bytes((await _migrated_memory()).serialize())


@asynccontextmanager
async def postgres_database(*, migrated: bool = True, copy_of: str = "") -> AsyncGenerator[str, None]:
    """Yield the address of a database of its own, dropped afterwards; `copy_of` is the address of one nobody uses."""
    base = GIVEN_URL or shared_server().url()
    if migrated and not _template:
        _template.append(await _make_template(base))
    name = f"db_{secrets.token_hex(6)}"
    source = urlsplit(copy_of).path.lstrip("/") or (_template[0] if migrated else "template0")
    async with _administration(base) as connection:
        # Copying files is twice as fast as logging their pages; older servers know nothing else.
        faster = " STRATEGY = FILE_COPY" if connection.server_major >= 15 else ""
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}{faster}")
        try:
            yield _with_database(base, name)
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def _migrated_memory() -> sqlite3.Connection:
    if not _memory_template:
        template = sqlite3.connect(":memory:", check_same_thread=False)
        async with opened(Memory(), wall_clock=ticking_clock()) as store:
            assert isinstance(store, SqliteStore)
            template.deserialize(store.snapshot())
        _memory_template.append(template)
    return _memory_template[0]


async def _make_template(base: str) -> str:
    name = f"tpl_{secrets.token_hex(6)}"
    async with _administration(base) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    if GIVEN_URL:
        # A server of the session takes its databases along; this one stays.
        atexit.register(lambda: trio.run(_drop, base, name))
    async with opened(Postgres(_with_database(base, name)), wall_clock=ticking_clock()):
        pass
    return name


async def _drop(base: str, name: str) -> None:
    async with _administration(base) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@asynccontextmanager
async def _administration(base: str) -> AsyncGenerator[PostgresConnection, None]:
    async with open_bridge() as bridge:
        connection = await PostgresConnection.connect(bridge, base, {"application_name": "darkbloom tests"})
        try:
            yield connection
        finally:
            await connection.close()


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
