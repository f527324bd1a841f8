"""Look at a database without changing it: does it answer, what is missing in it, who uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from server.store.address import Postgres, SqliteFile
from server.store.deadline import ConnectionLost
from server.store.engine import Row
from server.store.errors import StoreError
from server.store.errors_at_start import StoreCannotOpen
from server.store.file_lock import lock_holder
from server.store.migrate import Applied, history_of, missing_migrations
from server.store.migration import Migration
from server.store.sqlite_connection import SqliteConnection, check_library

_HISTORY = "SELECT version, name, checksum FROM schema_migrations ORDER BY version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What was found. `exists` is False for a SQLite file that the first start will make."""

    exists: bool
    applied: tuple[Applied, ...]
    missing: tuple[Migration, ...]
    used_by: int | None = None


async def inspect_database(address: SqliteFile | Postgres) -> Inspection:
    """Return what is in the database; raises StoreCannotOpen when it cannot be reached or has another history."""
    if isinstance(address, SqliteFile):
        return _inspect_file(address)
    return await _inspect_server(address)


def _inspect_file(address: SqliteFile) -> Inspection:
    check_library()
    if not address.path.exists():
        return Inspection(exists=False, applied=(), missing=missing_migrations((), "sqlite"))
    try:
        rows = _rows_of_file(address.path)
    except StoreError as error:
        raise StoreCannotOpen(f"The {address} cannot be read: {error}") from None
    applied = history_of(rows)
    return Inspection(
        exists=True,
        applied=applied,
        missing=missing_migrations(applied, "sqlite"),
        used_by=lock_holder(address.path),
    )


def _rows_of_file(path: Path) -> list[Row]:
    connection = SqliteConnection(f"file:{quote(str(path))}?mode=ro", uri=True, read_only=True)
    try:
        if not connection.fetch("SELECT name FROM sqlite_master WHERE name = $1", ("schema_migrations",)):
            return []
        return connection.fetch(_HISTORY, ())
    finally:
        connection.close()


async def _inspect_server(address: Postgres) -> Inspection:
    # Loading asyncpg takes a while; SQLite does without it.
    from server.store.postgres import PostgresConnection, open_bridge

    session = {"application_name": "darkbloom-coordinator doctor", "default_transaction_read_only": "on"}
    try:
        async with open_bridge() as bridge:
            connection = await PostgresConnection.connect(bridge, address.dsn, session)
            try:
                found = await connection.fetch("SELECT to_regclass('schema_migrations') IS NOT NULL AS there", ())
                rows = await connection.fetch(_HISTORY, ()) if found[0]["there"] else []
            finally:
                await connection.close()
    except (ConnectionLost, StoreError) as error:
        raise StoreCannotOpen(f"The {address} cannot be used. {error}") from None
    applied = history_of(rows)
    return Inspection(exists=True, applied=applied, missing=missing_migrations(applied, "postgres"))
