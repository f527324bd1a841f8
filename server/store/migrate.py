"""Bring a database to the current schema, or say why it cannot be.

Invariant: applied migrations are a prefix of the known ones, each with the checksum that it had when it was applied.
The caller holds the lock that keeps other programs from migrating at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from server.store.dialect import EngineKind
from server.store.engine import Row, Tx, Work
from server.store.errors_at_start import StoreCannotOpen
from server.store.migration import Migration
from server.store.migrations import MIGRATIONS

T = TypeVar("T")

_log = logging.getLogger("darkbloom.store")

_HISTORY: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  version @I PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at @I NOT NULL
)@S
"""


class SchemaSession(Protocol):
    """A database that nobody else migrates meanwhile."""

    kind: EngineKind

    async def unbounded(self, work: Work[T]) -> T:
        """Run a transaction that may take as long as it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A row of the history."""

    version: int
    name: str
    checksum: str

    @property
    def label(self) -> str:
        """The number and the name, as people say it."""
        return f"{self.version:04d}_{self.name}"


async def migrate(
    session: SchemaSession, *, wall_clock: Callable[[], int], known: Sequence[Migration] = MIGRATIONS
) -> tuple[Migration, ...]:
    """Apply what is missing, each migration in a transaction of its own, and return it.

    Raises StoreCannotOpen when the history differs from what this program knows.
    """

    async def prepare(tx: Tx) -> None:
        await tx.execute(_HISTORY)

    await session.unbounded(prepare)
    history = await session.unbounded(read_history)
    missing = missing_migrations(history, session.kind, known=known)
    for migration in missing:
        await session.unbounded(partial(_apply, migration=migration, kind=session.kind, now=wall_clock()))
        _log.info("migration applied", extra={"version": migration.version, "migration": migration.name})
    return missing


async def read_history(tx: Tx) -> tuple[Applied, ...]:
    """Return the applied migrations in order."""
    return history_of(await tx.fetch("SELECT version, name, checksum FROM schema_migrations ORDER BY version"))


def history_of(rows: Iterable[Row]) -> tuple[Applied, ...]:
    """Return the rows of the history as records."""
    history = []
    for row in rows:
        version, name, checksum = row["version"], row["name"], row["checksum"]
        assert isinstance(version, int)
        assert isinstance(name, str)
        assert isinstance(checksum, str)
        history.append(Applied(version=version, name=name, checksum=checksum))
    return tuple(history)


def missing_migrations(
    history: Sequence[Applied], kind: EngineKind, *, known: Sequence[Migration] = MIGRATIONS
) -> tuple[Migration, ...]:
    """Return what is to be applied; raises StoreCannotOpen when the history is not a prefix of the known migrations."""
    by_version = {migration.version: migration for migration in known}
    newest = known[-1].version
    for applied in history:
        label = applied.label
        if applied.version > newest:
            raise StoreCannotOpen(
                f"The database is newer than this program: it has migration {label}, the newest one known here is "
                f"{newest:04d}_{known[-1].name}. Start the newer program, or restore a backup from before its upgrade."
            )
        migration = by_version.get(applied.version)
        if migration is None or migration.name != applied.name or migration.checksum(kind) != applied.checksum:
            raise StoreCannotOpen(
                f"Migration {label} of the database differs from the one in this program: one of both was edited after "
                "it was applied. Install the program that made this database; migrations must never change."
            )
    done = {applied.version for applied in history}
    missing = tuple(migration for migration in known if migration.version not in done)
    if history and missing and missing[0].version < history[-1].version:
        first = missing[0]
        raise StoreCannotOpen(
            f"Migration {first.version:04d}_{first.name} is missing in the database although later ones were applied; "
            "its history was edited. Restore the table schema_migrations from a backup."
        )
    return missing


async def _apply(tx: Tx, *, migration: Migration, kind: EngineKind, now: int) -> None:
    for statement in migration.statements:
        await tx.execute(statement)
    if migration.data is not None:
        await migration.data(tx)
    await tx.execute(
        "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)",
        migration.version,
        migration.name,
        migration.checksum(kind),
        now,
    )
