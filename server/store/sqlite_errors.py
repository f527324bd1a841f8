"""The errors of SQLite in the store's words; no text of them holds a value of a row."""

from __future__ import annotations

import sqlite3
from typing import Final

from server.store.deadline import TryAgain
from server.store.errors import Conflict, Invalid, StoreError, StoreUnavailable

_PRIMARY_CODE: Final = 0xFF
_RETRIED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNAVAILABLE: Final = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
}
_UNIQUE: Final = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


def translated(error: sqlite3.Error, sql: str, *, read_only: bool = False) -> StoreError | TryAgain:
    """Return what to raise instead of `error`, which came from `sql`."""
    extended = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if not isinstance(extended, int):
        return StoreError(f"The database driver refused a statement ({name}): {shortened(sql)}")
    code = extended & _PRIMARY_CODE
    if code in _RETRIED:
        return TryAgain()
    if code == sqlite3.SQLITE_CONSTRAINT:
        # The message names the table and columns of the constraint, never a value.
        text = f"{error}: {shortened(sql)}"
        return Conflict(text) if extended in _UNIQUE else Invalid(text)
    if code in {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}:
        return Invalid(f"The database cannot hold a value ({name}): {shortened(sql)}")
    if code == sqlite3.SQLITE_READONLY and read_only:
        return StoreError(f"A read transaction tried to change something; use `write`: {shortened(sql)}")
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"The database file cannot be used now ({name}).")
    if "integer overflow" in str(error):
        return Invalid(f"A sum is beyond 64 bits: {shortened(sql)}")
    return StoreError(f"The database refused a statement ({name}, {error}): {shortened(sql)}")


def shortened(sql: str) -> str:
    """Return the start of a statement on one line; its text holds placeholders, never values."""
    line = " ".join(sql.split())
    return line if len(line) <= 120 else line[:117] + "..."
