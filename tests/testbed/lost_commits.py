"""A store that commits and then loses the answer, as a database does whose connection breaks at that moment."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from server.store.deadline import ConnectionLost
from server.store.dialect import EngineKind
from server.store.engine import Store
from server.store.sqlite import COMMITTED
from tests.testbed.store import open_test_store


class LostCommits:
    """Loses the answers to the next `pending` commits of transactions with a statement that holds the text `of`.

    The store runs those transactions again.
    """

    def __init__(self) -> None:
        self.pending = 0
        self.of = "INSERT"
        self._seen = False

    def __call__(self, sql: str) -> None:
        """Hear a statement; raises ConnectionLost right after a COMMIT that is to be lost."""
        if sql != COMMITTED:
            self._seen = not sql.startswith("BEGIN") and (self._seen or self.of in sql)
        elif self._seen and self.pending:
            self.pending -= 1
            raise ConnectionLost("The connection to the database was lost; try again.")


@asynccontextmanager
async def open_lossy_store(kind: EngineKind) -> AsyncGenerator[tuple[Store, LostCommits], None]:
    """Yield an empty store and what makes it lose answers; raises NoServer when PostgreSQL cannot be had."""
    losses = LostCommits()
    async with open_test_store(kind, on_statement=losses) as store:
        yield store, losses
