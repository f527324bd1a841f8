"""The store on SQLite: one writer connection under a lock, a few readers, COMMIT in a worker thread.

Invariant: the writer is inside at most one transaction, that of the task which holds the lock; no transaction outlives
the call that began it.

Statements of a write run on the event loop, because each takes a few microseconds while a hop to a thread takes far
more; what waits for the disk (COMMIT) or for another process (BEGIN on a locked file) runs in a thread that holds no
interpreter lock. A database in memory has one connection for everything and needs no thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import trio

from server.store import binding
from server.store.deadline import (
    READ_SECONDS,
    STATISTICS_SECONDS,
    WRITE_SECONDS,
    TryAgain,
    run_whole,
    within,
)
from server.store.engine import Row, Tx, Value, Work
from server.store.errors import StoreError, StoreUnavailable, TransactionAborted
from server.store.sqlite_connection import SqliteConnection, check_library
from server.store.worker import Worker

T = TypeVar("T")
OnStatement: TypeAlias = Callable[[str], None]

READERS: Final = 4
STATISTICS_READERS: Final = 2
COMMITTED: Final = "-- committed"
"""What `on_statement` hears after a COMMIT succeeded and before its caller knows."""


class SqliteTx:
    """A transaction on one connection; statements run in the worker, or on the event loop without one."""

    def __init__(self, connection: SqliteConnection, worker: Worker | None, on_statement: OnStatement | None) -> None:
        self._connection = connection
        self._worker = worker
        self._on_statement = on_statement
        self._alive = True
        self._failed = False

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """Run a statement and return all its rows."""
        return await self._run(self._connection.fetch, sql, args)

    async def row(self, sql: str, *args: Value) -> Row | None:
        """Run a statement and return its first row, or None."""
        rows = await self._run(self._connection.fetch, sql, args)
        return rows[0] if rows else None

    async def value(self, sql: str, *args: Value) -> Value:
        """Run a statement and return the first column of its first row; None without a row."""
        rows = await self._run(self._connection.fetch, sql, args)
        return next(iter(rows[0].values())) if rows else None

    async def execute(self, sql: str, *args: Value) -> int:
        """Run a statement and return how many rows it changed."""
        return await self._run(self._connection.execute, sql, args)

    async def _run(self, call: Callable[[str, Sequence[Value]], T], sql: str, args: Sequence[Value]) -> T:
        if not self._alive:
            raise StoreError("A statement came after its transaction had ended; await it inside the transaction.")
        if self._failed:
            raise TransactionAborted
        binding.check(args)
        if self._on_statement is not None:
            self._on_statement(sql)
        self._failed = self._connection.can_write
        if self._worker is None:
            result = call(sql, args)
        else:
            result = await self._worker.run(lambda: call(sql, args), on_cancel=self._connection.interrupt)
        self._failed = False
        return result

    def refuse_if_failed(self) -> None:
        """Raise TransactionAborted after a failed statement, as the other engine does: the rest must not be kept."""
        if self._failed:
            raise TransactionAborted

    def end(self) -> None:
        """Refuse further statements."""
        self._alive = False


class SqliteStore:
    """A SQLite database that this process has for itself."""

    kind: Literal["sqlite", "postgres"] = "sqlite"

    def __init__(self, path: Path | None, *, on_statement: OnStatement | None = None) -> None:
        """Open the file, or a database in memory without one; connecting reads a few pages."""
        check_library()
        self._path = path
        self._on_statement = on_statement
        target = ":memory:" if path is None else str(path)
        self._writer = SqliteConnection(target, uri=False, read_only=False)
        self._writing = trio.Lock()
        self._worker = None if path is None else Worker()
        self._readers = _ReaderPool(path, READERS)
        self._statistics = _ReaderPool(path, STATISTICS_READERS)
        self._closed = False

    @property
    def throwaway(self) -> bool:
        """Whether everything is gone when the process ends."""
        return self._path is None

    async def write(self, work: Work[T]) -> T:
        """Run a transaction that may write; see `server.store.engine.Store.write`."""
        return await within(
            WRITE_SECONDS,
            run_whole,
            lambda: self._transaction(work, "BEGIN IMMEDIATE", worker=None),
            shielded=True,
            what="a transaction",
        )

    async def upkeep(self, work: Work[T]) -> T:
        """Like `write`, with all statements in the worker: they may take long without holding up the event loop."""
        return await within(
            STATISTICS_SECONDS,
            run_whole,
            lambda: self._transaction(work, "BEGIN IMMEDIATE", worker=self._worker),
            shielded=True,
            what="upkeep",
        )

    async def read(self, work: Work[T]) -> T:
        """Run a read-only transaction on one snapshot."""
        return await self._read(self._readers, READ_SECONDS, work)

    async def statistics(self, work: Work[T]) -> T:
        """Run a slow read-only transaction on connections of its own."""
        return await self._read(self._statistics, STATISTICS_SECONDS, work)

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the file answers."""

        async def ask(tx: Tx) -> None:
            await tx.value("SELECT COUNT(*) FROM schema_migrations")

        try:
            await self.read(ask)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise StoreUnavailable(f"The database does not answer: {error}") from None

    async def aclose(self) -> None:
        """Close all connections; waits for a running COMMIT."""
        with trio.CancelScope(shield=True):
            async with self._writing:
                self._closed = True
                self._writer.close()
            self._readers.close()
            self._statistics.close()

    async def unbounded(self, work: Work[T]) -> T:
        """Run a transaction without a deadline; for migrations, before the store is in use."""
        return await self._transaction(work, "BEGIN IMMEDIATE", worker=self._worker)

    def snapshot(self) -> bytes:
        """Return the database as bytes; for a database in memory, outside transactions."""
        return self._writer.serialize()

    async def _transaction(self, work: Work[T], begin: str, *, worker: Worker | None, read_only: bool = False) -> T:
        try:
            self._writing.acquire_nowait()
        except trio.WouldBlock:  # a free lock costs no turn of the scheduler
            await self._writing.acquire()
        try:
            return await self._run_alone(work, begin, worker=worker, read_only=read_only)
        finally:
            self._writing.release()

    async def _run_alone(self, work: Work[T], begin: str, *, worker: Worker | None, read_only: bool) -> T:
        """Run a transaction; the caller holds the lock."""
        if self._closed:
            raise StoreUnavailable("The database is closed: the coordinator is stopping.")
        await self._begin(begin)
        tx = SqliteTx(self._writer, worker, self._on_statement)
        try:
            # What was cancelled while it waited for BEGIN ends here: statements without a thread do not wait.
            await trio.lowlevel.checkpoint_if_cancelled()
            if read_only:
                self._writer.refuse_changes(True)
            result = await work(tx)
            tx.end()
            tx.refuse_if_failed()
            await self._commit()
        finally:
            tx.end()
            if self._writer.in_transaction:
                self._writer.command("ROLLBACK")
            if read_only:
                self._writer.refuse_changes(False)
        return result

    async def _begin(self, begin: str) -> None:
        self._tell(begin)
        try:
            self._writer.command(begin)
        except TryAgain:
            if self._worker is None:
                raise
            # Another process holds the file: wait for it in the thread, not on the event loop.
            await self._worker.run(self._begin_patiently)

    def _begin_patiently(self) -> None:
        self._writer.wait_when_busy(True)
        try:
            self._writer.command("BEGIN IMMEDIATE")
        finally:
            self._writer.wait_when_busy(False)

    async def _commit(self) -> None:
        self._tell("COMMIT")
        if self._worker is None:
            self._writer.command("COMMIT")
        else:
            await self._worker.run(lambda: self._writer.command("COMMIT"))
        self._tell(COMMITTED)

    async def _read(self, pool: _ReaderPool, seconds: float, work: Work[T]) -> T:
        async def attempt() -> T:
            if self._path is None:
                return await self._transaction(work, "BEGIN", worker=None, read_only=True)
            async with pool.reader() as (connection, worker):
                return await self._read_on(connection, worker, work)

        return await within(seconds, run_whole, attempt, shielded=False, what="a read")

    async def _read_on(self, connection: SqliteConnection, worker: Worker, work: Work[T]) -> T:
        tx = SqliteTx(connection, worker, self._on_statement)
        connection.command("BEGIN")
        try:
            return await work(tx)
        finally:
            tx.end()
            if connection.in_transaction:
                connection.command("ROLLBACK")

    def _tell(self, sql: str) -> None:
        if self._on_statement is not None:
            self._on_statement(sql)


class _ReaderPool:
    """Up to `size` read-only connections to a file, made when needed."""

    def __init__(self, path: Path | None, size: int) -> None:
        self._path = path
        self._slots = trio.CapacityLimiter(size)
        self._free: list[tuple[SqliteConnection, Worker]] = []
        self._closed = False

    @asynccontextmanager
    async def reader(self) -> AsyncGenerator[tuple[SqliteConnection, Worker], None]:
        """Lend a connection with its thread."""
        async with self._slots:
            if self._closed:
                raise StoreUnavailable("The database is closed: the coordinator is stopping.")
            pair = self._free.pop() if self._free else (self._connect(), Worker())
            try:
                yield pair
            finally:
                self._take_back(pair)

    def _take_back(self, pair: tuple[SqliteConnection, Worker]) -> None:
        if self._closed:
            pair[0].close()
        else:
            self._free.append(pair)

    def _connect(self) -> SqliteConnection:
        return SqliteConnection(f"file:{quote(str(self._path))}?mode=rw", uri=True, read_only=True)

    def close(self) -> None:
        self._closed = True
        for connection, _worker in self._free:
            connection.close()
        self._free.clear()
