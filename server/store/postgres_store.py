"""The store on PostgreSQL: a pool for requests, a small one for statistics, READ COMMITTED with row locks.

Sessions are read-only by default and writes say so in their BEGIN. A read therefore needs no transaction around it: at
READ COMMITTED each statement has its own snapshot either way, and two round trips are saved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias, TypeVar

import trio

from server.store import binding
from server.store.address import Postgres
from server.store.deadline import (
    CLOSE_SECONDS,
    READ_SECONDS,
    STATISTICS_SECONDS,
    WRITE_SECONDS,
    ConnectionLost,
    run_whole,
    within,
)
from server.store.engine import Row, Value, Work
from server.store.errors import StoreError, StoreUnavailable
from server.store.errors_at_start import StoreCannotOpen
from server.store.postgres import AsyncioBridge, PostgresConnection, open_bridge
from server.store.postgres_listener import listen_forever
from server.store.postgres_pool import PostgresPool

T = TypeVar("T")
OnStatement: TypeAlias = Callable[[str], None]

POOL_LEAST: Final = 5
POOL_MOST: Final = 20
STATISTICS_MOST: Final = 4
OLDEST_SERVER: Final = 13
EXHAUSTED_SECONDS: Final = 10.0
COMMITTED: Final = "-- committed"

_PING_SECONDS: Final = 2.0
_BEGIN: Final = "BEGIN READ WRITE"
_MIGRATION_LOCK: Final = 7236184
_SESSION: Final = {
    "application_name": "darkbloom-coordinator",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "read committed",
    "timezone": "UTC",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
}
_REQUESTS: Final = {**_SESSION, "statement_timeout": "5s"}
_SLOW: Final = {**_SESSION, "statement_timeout": "30s", "application_name": "darkbloom-coordinator statistics"}
_LISTENER: Final = {**_SESSION, "statement_timeout": "5s", "application_name": "darkbloom-coordinator listener"}
_MIGRATIONS: Final = {
    "application_name": "darkbloom-coordinator migrate",
    "timezone": "UTC",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


class PostgresTx:
    """A transaction, or a read without one, on a lent connection."""

    def __init__(self, connection: PostgresConnection, on_statement: OnStatement | None) -> None:
        self._connection = connection
        self._on_statement = on_statement
        self._alive = True

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

    async def _run(self, call: Callable[[str, Sequence[Value]], Awaitable[T]], sql: str, args: Sequence[Value]) -> T:
        if not self._alive:
            raise StoreError("A statement came after its transaction had ended; await it inside the transaction.")
        binding.check(args)
        if self._on_statement is not None:
            self._on_statement(sql)
        return await call(sql, args)

    def end(self) -> None:
        """Refuse further statements."""
        self._alive = False


class PostgresStore:
    """A PostgreSQL database with the current schema."""

    kind: Literal["sqlite", "postgres"] = "postgres"

    def __init__(self, bridge: AsyncioBridge, dsn: str, *, on_statement: OnStatement | None) -> None:
        self._on_statement = on_statement
        self._pool = PostgresPool(
            lambda: PostgresConnection.connect(bridge, dsn, _REQUESTS), least=POOL_LEAST, most=POOL_MOST
        )
        self._slow = PostgresPool(lambda: PostgresConnection.connect(bridge, dsn, _SLOW), least=0, most=STATISTICS_MOST)
        self._connect_listener = lambda: PostgresConnection.connect(bridge, dsn, _LISTENER)

    @property
    def pools(self) -> tuple[PostgresPool, PostgresPool]:
        """The pool for requests and the one for statistics; for metrics and tests."""
        return self._pool, self._slow

    async def warm_up(self) -> None:
        """Open the first connections; raises ConnectionLost."""
        await self._pool.warm_up()

    async def write(self, work: Work[T]) -> T:
        """Run a transaction that may write; see `server.store.engine.Store.write`."""
        return await self._write(self._pool, WRITE_SECONDS, work)

    async def upkeep(self, work: Work[T]) -> T:
        """Like `write`, on the connections for slow work and with their limits."""
        return await self._write(self._slow, STATISTICS_SECONDS, work)

    async def read(self, work: Work[T]) -> T:
        """Run read-only statements."""
        return await self._read(self._pool, READ_SECONDS, work)

    async def statistics(self, work: Work[T]) -> T:
        """Run slow read-only statements on connections of their own."""
        return await self._read(self._slow, STATISTICS_SECONDS, work)

    async def listen(self, channel: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Hear what processes announce on a channel; see `server.store.engine.Listening`. Takes a connection more."""
        await listen_forever(self._connect_listener, channel, heard, missed)

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers; also when all connections were in use for 10 s."""
        busy = self._pool.exhausted_seconds()
        if busy >= EXHAUSTED_SECONDS:
            raise StoreUnavailable(f"All {self._pool.most} database connections have been in use for {busy:.0f} s.")
        if busy > 0:
            return

        async def ask() -> None:
            async with self._pool.connection() as connection:
                await connection.fetch("SELECT 1", ())

        await within(_PING_SECONDS, run_whole, lambda: self._attempt(self._pool, ask), shielded=False, what="a probe")

    async def aclose(self) -> None:
        """Close all connections within 5 s."""
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS):
            await self._pool.aclose()
            await self._slow.aclose()

    async def _write(self, pool: PostgresPool, seconds: float, work: Work[T]) -> T:
        async def transaction() -> T:
            async with pool.connection() as connection:
                tx = PostgresTx(connection, self._on_statement)
                try:
                    self._tell(_BEGIN)
                    await connection.execute(_BEGIN)
                    result = await work(tx)
                finally:
                    tx.end()
                self._tell("COMMIT")
                await connection.commit()
                self._tell(COMMITTED)
                return result

        return await within(
            seconds, run_whole, lambda: self._attempt(pool, transaction), shielded=True, what="a transaction"
        )

    async def _read(self, pool: PostgresPool, seconds: float, work: Work[T]) -> T:
        async def statements() -> T:
            async with pool.connection() as connection:
                tx = PostgresTx(connection, self._on_statement)
                try:
                    return await work(tx)
                finally:
                    tx.end()

        return await within(seconds, run_whole, lambda: self._attempt(pool, statements), shielded=False, what="a read")

    async def _attempt(self, pool: PostgresPool, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await attempt()
        except ConnectionLost:
            pool.distrust()
            raise

    def _tell(self, sql: str) -> None:
        if self._on_statement is not None:
            self._on_statement(sql)


class PostgresSchemaSession:
    """The connection that migrates; it holds the migration lock."""

    kind: Literal["sqlite", "postgres"] = "postgres"

    def __init__(self, connection: PostgresConnection) -> None:
        self._connection = connection

    async def unbounded(self, work: Work[T]) -> T:
        """Run a transaction that may take as long as it needs."""
        await self._connection.execute("BEGIN")
        tx = PostgresTx(self._connection, None)
        try:
            result = await work(tx)
        finally:
            tx.end()
        await self._connection.commit()
        return result


@asynccontextmanager
async def open_schema_session(bridge: AsyncioBridge, address: Postgres) -> AsyncGenerator[PostgresSchemaSession, None]:
    """Yield the only session that may migrate; waits for another one to finish, without a limit."""
    connection = await PostgresConnection.connect(bridge, address.dsn, _MIGRATIONS)
    try:
        if connection.server_major < OLDEST_SERVER:
            raise StoreCannotOpen(
                f"The {address} runs PostgreSQL {connection.server_major}; {OLDEST_SERVER} or later is needed."
            )
        await connection.fetch("SELECT pg_advisory_lock(CAST($1 AS BIGINT))", (_MIGRATION_LOCK,))
        yield PostgresSchemaSession(connection)
    finally:
        # Closing ends the session, and with it the lock and any open transaction.
        await connection.close()


@asynccontextmanager
async def open_postgres(
    address: Postgres,
    migrate: Callable[[PostgresSchemaSession], Awaitable[object]],
    *,
    on_statement: OnStatement | None = None,
) -> AsyncGenerator[PostgresStore, None]:
    """Yield the store at an address after `migrate` has run; raises StoreCannotOpen when it cannot be reached."""
    async with open_bridge() as bridge:
        store = PostgresStore(bridge, address.dsn, on_statement=on_statement)
        try:
            try:
                async with open_schema_session(bridge, address) as session:
                    await migrate(session)
                await store.warm_up()
            except ConnectionLost as loss:
                raise StoreCannotOpen(f"The {address} cannot be used. {loss}") from None
            yield store
        finally:
            await store.aclose()
