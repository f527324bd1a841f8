"""Open the configured database: choose the engine, take the lock, migrate, hand out the store."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from server.store.address import Address, Memory, Postgres, SqliteFile, parse_address
from server.store.deadline import ConnectionLost, TryAgain
from server.store.engine import Store
from server.store.errors import StoreError
from server.store.errors_at_start import StoreCannotOpen
from server.store.file_lock import exclusive_file
from server.store.migrate import SchemaSession, migrate
from server.store.sqlite import OnStatement, SqliteStore

if TYPE_CHECKING:
    from server.config.store import StoreSettings

_log = logging.getLogger("darkbloom.store")

WallClock: TypeAlias = Callable[[], int]


@asynccontextmanager
async def open_store(
    url: str | None, *, allow_memory: bool, wall_clock: WallClock, on_statement: OnStatement | None = None
) -> AsyncGenerator[Store, None]:
    """Yield the migrated store that `url` names; close it afterwards.

    `wall_clock` gives microseconds since the epoch. `on_statement` hears every statement before it runs. Raises
    StoreNotConfigured or StoreCannotOpen; there is no fall-back to another database.
    """
    address = parse_address(url, allow_memory=allow_memory)
    if isinstance(address, Memory):
        _log.warning("the store is in memory: all accounts, balances and keys are lost when this process ends")
    async with opened(address, wall_clock=wall_clock, on_statement=on_statement) as store:
        yield store


def open_configured_store(
    settings: StoreSettings, *, wall_clock: WallClock, on_statement: OnStatement | None = None
) -> AbstractAsyncContextManager[Store]:
    """Open the store that the settings name; see `open_store`."""
    url = None if settings.database_url is None else settings.database_url.reveal()
    return open_store(url, allow_memory=settings.allow_memory_store, wall_clock=wall_clock, on_statement=on_statement)


@asynccontextmanager
async def opened(
    address: Address, *, wall_clock: WallClock, on_statement: OnStatement | None = None
) -> AsyncGenerator[Store, None]:
    """Yield the migrated store at an address."""
    match address:
        case Memory():
            async with _sqlite(None, wall_clock, on_statement) as memory:
                yield memory
        case SqliteFile(path):
            with exclusive_file(path):
                async with _sqlite(path, wall_clock, on_statement) as file:
                    yield file
        case Postgres():
            # Loading asyncpg takes a while; SQLite does without it.
            from server.store.postgres_store import open_postgres

            apply = partial(_migrated, address=address, wall_clock=wall_clock)
            async with open_postgres(address, apply, on_statement=on_statement) as store:
                yield store


@asynccontextmanager
async def _sqlite(
    path: Path | None, wall_clock: WallClock, on_statement: OnStatement | None
) -> AsyncGenerator[SqliteStore, None]:
    try:
        if path is not None:
            _create_private(path)
        store = SqliteStore(path, on_statement=on_statement)
    except (OSError, StoreError) as error:
        raise StoreCannotOpen(f"The {SqliteFile(path) if path else Memory()} cannot be opened: {error}") from None
    try:
        await _migrated(store, address=SqliteFile(path) if path else Memory(), wall_clock=wall_clock)
        yield store
    finally:
        await store.aclose()


async def _migrated(session: SchemaSession, *, address: Address, wall_clock: WallClock) -> None:
    try:
        await migrate(session, wall_clock=wall_clock)
    except StoreCannotOpen:
        raise
    except (StoreError, TryAgain, ConnectionLost) as error:
        raise StoreCannotOpen(f"The {address} could not be migrated: {error}") from None


def _create_private(path: Path) -> None:
    """Make the file with no rights for others; SQLite gives its side files the same rights."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
