"""asyncpg on trio: the one place where an asyncio library runs, behind a handful of trio functions.

Every call runs on a trio-asyncio loop and is awaited from trio. Cancelling the trio side cancels it the asyncio way and
waits for its end; asyncpg then asks the server to stop the statement, so the connection is usable again
or closed, never half-way.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar

import asyncpg
import trio

from server.store.deadline import ConnectionLost
from server.store.dialect import render
from server.store.engine import Row, Value
from server.store.errors import TransactionAborted
from server.store.postgres_errors import LOST, translated, unreachable

with warnings.catch_warnings():
    # It derives a class from one of asyncio that later Pythons announce to remove.
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio

T = TypeVar("T")

_CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_CACHED_STATEMENTS: Final = 512
MAX_NOTICES: Final = 1000


@lru_cache(maxsize=2048)
def _rendered(sql: str) -> str:
    return render(sql, "postgres")


class AsyncioBridge:
    """Runs asyncio coroutines for trio tasks."""

    def __init__(self, loop: trio_asyncio.TrioEventLoop) -> None:
        self._loop = loop

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine as a task of asyncio; raises trio.Cancelled after it has ended."""
        # Trio tasks that do not descend from the one that opened the loop have no current loop of their own.
        token = trio_asyncio.current_loop.set(self._loop)
        try:
            result: T = await self._loop.run_aio_coroutine(coroutine)
            return result
        finally:
            trio_asyncio.current_loop.reset(token)

    async def run_statement(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that only waits for futures, without a task of asyncio: a third less work per statement.

        A cancellation cancels the future that is waited for, once, as asyncio does; it is raised when the coroutine has
        ended by it.
        """
        token = trio_asyncio.current_loop.set(self._loop)
        raise_cancelled: Callable[[], NoReturn] | None = None
        try:
            while True:
                try:
                    future = coroutine.send(None)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                # The mark by which asyncio knows a future that somebody awaits properly.
                future._asyncio_future_blocking = False  # noqa: SLF001
                raise_cancelled = await _wait_for(future, raise_cancelled)
        except asyncio.CancelledError:
            if raise_cancelled is None:
                raise
            raise_cancelled()
        finally:
            trio_asyncio.current_loop.reset(token)


async def _wait_for(
    future: asyncio.Future[Any], raise_cancelled: Callable[[], NoReturn] | None
) -> Callable[[], NoReturn] | None:
    """Wait until a future is done; return how to raise the cancellation that came first, now or before."""
    task = trio.lowlevel.current_task()
    future.add_done_callback(lambda _: trio.lowlevel.reschedule(task))

    def on_cancel(raise_it: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        nonlocal raise_cancelled
        if raise_cancelled is None:
            raise_cancelled = raise_it
            future.cancel()
        return trio.lowlevel.Abort.FAILED

    await trio.lowlevel.wait_task_rescheduled(on_cancel)
    return raise_cancelled


@asynccontextmanager
async def open_bridge() -> AsyncGenerator[AsyncioBridge, None]:
    """Yield a bridge; all tasks that use it must have ended before the block does.

    An error of the block leaves as it is, not wrapped in the groups of the loop's nurseries.
    """
    failure: Exception | None = None
    async with trio_asyncio.open_loop() as loop:
        try:
            yield AsyncioBridge(loop)
        except Exception as error:
            failure = error
    if failure is not None:
        raise failure


class Notices:
    """Payloads of a channel that came and were not taken yet, in order; of more than 1,000 the last ones are lost."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._stirred = trio.Event()
        self._ended = False
        self._overflowed = False

    async def receive(self) -> str:
        """Wait for the next payload; raises ConnectionLost when none can come any more."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise ConnectionLost(LOST)
            self._stirred = trio.Event()
            await self._stirred.wait()
        return self._waiting.popleft()

    def take_overflow(self) -> bool:
        """Whether payloads were lost since the last call."""
        lost, self._overflowed = self._overflowed, False
        return lost

    def put(self, payload: str) -> None:
        """Take a payload that came."""
        if len(self._waiting) < MAX_NOTICES:
            self._waiting.append(payload)
        else:
            self._overflowed = True
        self._stirred.set()

    def end(self) -> None:
        """Take note that the connection is gone."""
        self._ended = True
        self._stirred.set()


class PostgresConnection:
    """One connection; its owner runs one statement at a time."""

    def __init__(self, bridge: AsyncioBridge, connection: asyncpg.Connection) -> None:
        self._bridge = bridge
        self._connection = connection
        # After a cancelled statement asyncpg first waits for the server's answer to it, which needs a task of asyncio.
        self._answered = True

    @classmethod
    async def connect(cls, bridge: AsyncioBridge, dsn: str, session: Mapping[str, str]) -> PostgresConnection:
        """Connect within 5 s, with session parameters; raises ConnectionLost when the server cannot be reached."""
        try:
            connection = await bridge.run(
                asyncpg.connect(
                    dsn,
                    timeout=_CONNECT_SECONDS,
                    statement_cache_size=_CACHED_STATEMENTS,
                    max_cached_statement_lifetime=0,
                    server_settings=dict(session),
                )
            )
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unreachable(error) from None
        return cls(bridge, connection)

    @property
    def server_major(self) -> int:
        """Major version of the server."""
        return int(self._connection.get_server_version().major)

    @property
    def closed(self) -> bool:
        """Whether the connection is known to be gone."""
        return bool(self._connection.is_closed())

    @property
    def in_transaction(self) -> bool:
        """Whether a BEGIN is open."""
        return bool(self._connection.is_in_transaction())

    async def fetch(self, sql: str, args: Sequence[Value]) -> list[Row]:
        """Run a statement and return all its rows."""
        records = await self._call(self._connection.fetch(_rendered(sql), *args), sql)
        return [dict(record.items()) for record in records]

    async def execute(self, sql: str, args: Sequence[Value] = ()) -> int:
        """Run a statement and return how many rows it changed."""
        status = await self._call(self._connection.execute(_rendered(sql), *args), sql)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() and not status.startswith("SELECT") else 0

    async def listen(self, channel: str) -> Notices:
        """Listen to a channel for as long as the connection lasts; statements may still run on it."""
        notices = Notices()
        self._connection.add_termination_listener(lambda _connection: notices.end())
        listening = self._connection.add_listener(channel, lambda _connection, _pid, _name, text: notices.put(text))
        await self._call(listening, "LISTEN")
        return notices

    async def commit(self) -> None:
        """Commit; raises TransactionAborted when the server rolled back because a statement had failed."""
        status = await self._call(self._connection.execute("COMMIT"), "COMMIT")
        if status != "COMMIT":
            raise TransactionAborted

    async def close(self) -> None:
        """Say good-bye to the server, at most 2 s, and close; shielded."""
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_SECONDS):
            try:
                await self._bridge.run(self._connection.close())
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pass
        self.terminate()

    def terminate(self) -> None:
        """Cut the connection at once; the server rolls back what was open."""
        if not self._connection.is_closed():
            self._connection.terminate()

    async def _call(self, coroutine: Coroutine[Any, Any, T], sql: str) -> T:
        run = self._bridge.run_statement if self._answered else self._bridge.run
        self._answered = False
        try:
            result = await run(coroutine)
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._answered = True
            raise translated(error, sql, closed=self.closed) from None
        except asyncpg.InternalClientError:
            # The server's farewell arrived between two statements; the driver cannot go on with this connection.
            self.terminate()
            raise ConnectionLost(LOST) from None
        self._answered = True
        return result
