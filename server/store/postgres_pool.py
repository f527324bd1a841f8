"""A bounded pool of PostgreSQL connections, lent by a context manager that always takes them back.

Invariant: a free connection is outside any transaction; whatever ends in doubt is cut, never reused. `lent` counts the
tasks inside `connection()`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio

from server.store.deadline import ConnectionLost, TryAgain
from server.store.errors import StoreError, StoreUnavailable
from server.store.postgres import PostgresConnection

Connect: TypeAlias = Callable[[], Awaitable[PostgresConnection]]

_ROLLBACK_SECONDS: Final = 2.0
_IDLE_SECONDS: Final = 300.0


class PostgresPool:
    """Between `least` and `most` connections; made when needed, closed when idle for 5 minutes above `least`."""

    def __init__(self, connect: Connect, *, least: int, most: int) -> None:
        self._connect = connect
        self._least = least
        self._slots = trio.CapacityLimiter(most)
        # The most recently used at the right; each with the time at which it became free and its generation.
        self._free: deque[tuple[PostgresConnection, float]] = deque()
        self._exhausted_since: float | None = None
        self._closed = False

    @property
    def lent(self) -> int:
        """Connections in use."""
        return int(self._slots.borrowed_tokens)

    @property
    def free(self) -> int:
        """Connections that are open and idle."""
        return len(self._free)

    @property
    def most(self) -> int:
        """Connections that may be open."""
        return int(self._slots.total_tokens)

    def exhausted_seconds(self) -> float:
        """For how long every connection has been in use without a break."""
        return 0.0 if self._exhausted_since is None else trio.current_time() - self._exhausted_since

    async def warm_up(self) -> None:
        """Open the first connections; raises ConnectionLost when the server cannot be reached."""
        while len(self._free) < self._least:
            self._free.append((await self._connect(), trio.current_time()))

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[PostgresConnection, None]:
        """Lend a connection, waiting for a free one; raises ConnectionLost when none can be made."""
        async with self._slot():
            connection = self._take() or await self._connect()
            in_doubt = True
            try:
                yield connection
                in_doubt = connection.in_transaction
            finally:
                if in_doubt:
                    await _settle(connection)
                self._put_back(connection)

    async def aclose(self) -> None:
        """Close the idle connections; lent ones are cut when they come back."""
        self._closed = True
        async with trio.open_nursery() as nursery:
            while self._free:
                nursery.start_soon(self._free.pop()[0].close)

    def distrust(self) -> None:
        """Cut the idle connections: one of their kind was found dead, so the server was probably restarted."""
        while self._free:
            self._free.pop()[0].terminate()

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None, None]:
        async with self._slots:
            if self._closed:
                raise StoreUnavailable("The database is closed: the coordinator is stopping.")
            if self._slots.available_tokens < 1 and self._exhausted_since is None:
                self._exhausted_since = trio.current_time()
            try:
                yield
            finally:
                self._exhausted_since = None

    def _take(self) -> PostgresConnection | None:
        while self._free:
            connection, _since = self._free.pop()
            if not connection.closed:
                return connection
        return None

    def _put_back(self, connection: PostgresConnection) -> None:
        if self._closed or connection.closed:
            connection.terminate()
            return
        now = trio.current_time()
        self._free.append((connection, now))
        while len(self._free) > self._least and now - self._free[0][1] > _IDLE_SECONDS:
            self._free.popleft()[0].terminate()


async def _settle(connection: PostgresConnection) -> None:
    """Bring a connection whose work failed out of its transaction and past a cancelled statement, or cut it."""
    answered = False
    with trio.CancelScope(shield=True), trio.move_on_after(_ROLLBACK_SECONDS):
        try:
            await connection.execute("ROLLBACK" if connection.in_transaction else "SELECT 1")
            answered = True
        except (StoreError, ConnectionLost, TryAgain):
            pass
    if not answered or connection.in_transaction:
        connection.terminate()
