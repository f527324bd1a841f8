"""The errors of PostgreSQL and asyncpg in the store's words; no text of them holds a value of a row or a password."""

from __future__ import annotations

from typing import Final

import asyncpg

from server.store.deadline import ConnectionLost, TryAgain
from server.store.errors import Conflict, Invalid, StoreError, StoreUnavailable, TransactionAborted
from server.store.sqlite_errors import shortened

_RETRIED: Final = {"40001", "40P01"}
_UNIQUE: Final = "23505"
_READ_ONLY: Final = "25006"
_ABORTED: Final = "25P02"
_TIMED_OUT: Final = {"57014": "a statement ran into its time limit", "55P03": "a lock was not free in time"}
_LOST: Final = {"57P01", "57P02", "57P03", "57P05", "25P03", "53300"}
LOST: Final = "The connection to the database was lost; try again."


def translated(error: Exception, sql: str, *, closed: bool) -> StoreError | TryAgain | ConnectionLost:
    """Return what to raise instead of `error`, which came from `sql`; `closed`: the connection is gone."""
    if isinstance(error, (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)):
        return TryAgain()
    if isinstance(error, asyncpg.PostgresError):
        return _from_server(error, sql, closed=closed)
    if closed or isinstance(error, OSError):
        return ConnectionLost(LOST)
    return StoreError(f"The database driver refused a statement ({type(error).__name__}): {shortened(sql)}")


def _from_server(error: asyncpg.PostgresError, sql: str, *, closed: bool) -> StoreError | TryAgain | ConnectionLost:
    state = str(error.sqlstate or "")
    if state in _RETRIED:
        return TryAgain()
    if state == _ABORTED:
        return TransactionAborted()
    if state in _LOST or state.startswith("08"):
        return ConnectionLost(LOST)
    if state in _TIMED_OUT:
        return StoreUnavailable(f"The database is too busy: {_TIMED_OUT[state]}; try again.")
    if state.startswith("23"):
        constraint = getattr(error, "constraint_name", None) or getattr(error, "column_name", None) or state
        text = f"constraint {constraint} failed: {shortened(sql)}"
        return Conflict(text) if state == _UNIQUE else Invalid(text)
    if state.startswith("22"):
        return Invalid(f"The database cannot hold a value ({type(error).__name__}): {shortened(sql)}")
    if state == _READ_ONLY:
        return StoreError(f"A read transaction tried to change something; use `write`: {shortened(sql)}")
    if state.startswith(("53", "58", "XX")):
        return StoreUnavailable(f"The database server is in trouble (SQLSTATE {state}); its log tells more.")
    if closed:
        return ConnectionLost(LOST)
    return StoreError(f"The database refused a statement (SQLSTATE {state}): {shortened(sql)}")


def unreachable(error: Exception) -> ConnectionLost:
    """Return what to raise when no connection could be made."""
    if isinstance(error, asyncpg.PostgresError):
        # Of the connection phase: names of users and databases, never a password.
        reason = str(error)
    elif isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
    else:
        reason = f"the address cannot be used ({type(error).__name__})"
    return ConnectionLost(f"The database server cannot be reached: {reason}.")
