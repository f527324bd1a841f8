"""One SQLite connection: how it is set up, and how a statement runs on it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from server.store.dialect import render
from server.store.engine import Row, Value
from server.store.errors_at_start import StoreCannotOpen
from server.store.sqlite_errors import translated

_OLDEST: Final = (3, 37, 0)
_BUSY_MILLISECONDS: Final = 5000
_PLACE: Final = re.compile(r"\$(\d+)")


@lru_cache(maxsize=2048)
def _rendered(sql: str) -> tuple[str, tuple[int, ...]]:
    """The statement with `?` where its arguments go, and which of them goes to each place, counted from 0."""
    text = render(sql, "sqlite")
    return _PLACE.sub("?", text), tuple(int(number) - 1 for number in _PLACE.findall(text))


def check_library() -> None:
    """Raise StoreCannotOpen when the SQLite library lacks STRICT tables."""
    if sqlite3.sqlite_version_info < _OLDEST:
        needed = ".".join(map(str, _OLDEST[:2]))
        raise StoreCannotOpen(
            f"SQLite {sqlite3.sqlite_version} is too old; {needed} or later is needed. Use a newer Python build, or "
            "PostgreSQL."
        )


class SqliteConnection:
    """A connection in autocommit mode; BEGIN and COMMIT are said by the store. Used by one thread at a time."""

    def __init__(self, target: str, *, uri: bool, read_only: bool) -> None:
        try:
            self._connection = sqlite3.connect(
                target, uri=uri, isolation_level=None, check_same_thread=False, cached_statements=512, timeout=0
            )
        except sqlite3.Error as error:
            raise translated(error, "connect") from None
        self.can_write = True
        """Whether statements may change something."""
        try:
            self._set_up(read_only)
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self, read_only: bool) -> None:
        self.wait_when_busy(True)
        self.command("PRAGMA foreign_keys=ON")
        if read_only:
            self.refuse_changes(True)
        else:
            self.command("PRAGMA journal_mode=WAL")
            self.command("PRAGMA synchronous=FULL")
            self.wait_when_busy(False)

    def wait_when_busy(self, wait: bool) -> None:
        """Choose between waiting up to 5 s for another process's lock and failing at once."""
        self.command(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS if wait else 0}")

    def refuse_changes(self, refuse: bool) -> None:
        """Let statements that change something fail."""
        self.command(f"PRAGMA query_only={'ON' if refuse else 'OFF'}")
        self.can_write = not refuse

    @property
    def in_transaction(self) -> bool:
        """Whether a BEGIN is open."""
        return self._connection.in_transaction

    def command(self, sql: str) -> None:
        """Run a statement without parameters and drop its rows."""
        try:
            self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise translated(error, sql) from None

    def fetch(self, sql: str, args: Sequence[Value]) -> list[Row]:
        """Run a statement and return all its rows."""
        try:
            cursor = self._connection.execute(*_bound(sql, args))
            rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise translated(error, sql, read_only=not self.can_write) from None
        if not rows:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def execute(self, sql: str, args: Sequence[Value]) -> int:
        """Run a statement and return how many rows it changed."""
        try:
            cursor = self._connection.execute(*_bound(sql, args))
            cursor.fetchall()
        except sqlite3.Error as error:
            raise translated(error, sql, read_only=not self.can_write) from None
        return max(cursor.rowcount, 0)

    def interrupt(self) -> None:
        """Make the statement that runs in another thread end soon."""
        self._connection.interrupt()

    def serialize(self) -> bytes:
        """Return the whole database as bytes."""
        return self._connection.serialize()

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        self._connection.close()


def _bound(sql: str, args: Sequence[Value]) -> tuple[str, list[Value]]:
    """The statement as SQLite takes it, with an argument for each of its places."""
    text, places = _rendered(sql)
    return text, [args[place] for place in places]
