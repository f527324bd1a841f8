"""The one interface that SQLite and PostgreSQL share: whole transactions as functions.

SQL is written once, with `$1 … $n` placeholders and the tokens of `server.store.dialect`. A transaction is a function
of a `Tx`; it may run again after a serialisation failure, so it does nothing outside the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

T = TypeVar("T")
Value: TypeAlias = int | str | bytes | float | None
"""What a parameter or a column may be; flags are 0 and 1, times are microseconds since the epoch, JSON is text."""

Row: TypeAlias = Mapping[str, Value]


class Tx(Protocol):
    """An open transaction. Statements run one after the other; a `Tx` is dead once its function returned."""

    async def fetch(self, sql: str, *args: Value) -> list[Row]:
        """Run a statement and return all its rows (SELECT, or anything with RETURNING)."""

    async def row(self, sql: str, *args: Value) -> Row | None:
        """Run a statement and return its first row, or None."""

    async def value(self, sql: str, *args: Value) -> Value:
        """Run a statement and return the first column of its first row; None without a row."""

    async def execute(self, sql: str, *args: Value) -> int:
        """Run a statement and return how many rows it changed."""


Work: TypeAlias = Callable[[Tx], Awaitable[T]]


class Store(Protocol):
    """A database with the current schema.

    All methods raise only errors of `server.store.errors`, or what the work raises. Anything that the work raises rolls
    the transaction back.
    """

    kind: Literal["sqlite", "postgres"]

    async def write(self, work: Work[T]) -> T:
        """Run a transaction that may write.

        Shielded: it commits or rolls back within the store's deadline (10 s, then StoreUnavailable), and a cancellation
        that came meanwhile is delivered at the caller's next checkpoint. Tried again, whole, after serialisation
        failures, deadlocks, busy databases (5 tries) and a lost connection (once): money work must be idempotent by its
        key.
        """

    async def read(self, work: Work[T]) -> T:
        """Run read-only statements, 10 s at most, cancellable: one snapshot on SQLite, READ COMMITTED on PostgreSQL."""

    async def statistics(self, work: Work[T]) -> T:
        """Like `read`, for slow questions: own connections and a 30 s limit, so that they never starve money work."""

    async def upkeep(self, work: Work[T]) -> T:
        """Like `write`, for long statements of background jobs: a 30 s limit, and the event loop goes on meanwhile."""

    async def ping(self) -> None:
        """Raise StoreUnavailable unless the database answers and connections are free; for `/readyz`."""

    async def aclose(self) -> None:
        """Close all connections; bounded."""


@runtime_checkable
class Listening(Protocol):
    """What a store offers besides when several processes may use its database; SQLite has one, and does not."""

    async def listen(self, channel: str, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Hand every payload that is announced on a channel, by whatever process, to `heard`; never returns.

        `missed` is called whenever payloads may have been lost: at the beginning, after each time that the connection
        broke (it is made again by itself), and when too many came at once. Both must be quick; what they raise ends
        this.
        """
