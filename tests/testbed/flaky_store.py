"""A store whose database goes away when a test says so."""

from __future__ import annotations

from typing import Literal, TypeVar

import trio

from server.store.engine import Store, Work
from server.store.errors import StoreUnavailable

T = TypeVar("T")


class FlakyStore:
    """Passes everything on to a real store while that is up.

    `down` refuses every call. `stuck` lets writes wait until they are cancelled. `lose_answers` commits so many writes
    and reports them as failed. `writes` and `refusals` count.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.kind: Literal["sqlite", "postgres"] = store.kind
        self.down = False
        self.stuck = False
        self.lose_answers = 0
        self.writes = 0
        self.refusals = 0

    async def write(self, work: Work[T]) -> T:
        """Run, refuse, or run and lose the answer."""
        self._refuse()
        if self.stuck:
            await trio.sleep_forever()
        self.writes += 1
        result = await self._store.write(work)
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreUnavailable("The answer of the database was lost.")
        return result

    async def read(self, work: Work[T]) -> T:
        """Run or refuse."""
        self._refuse()
        return await self._store.read(work)

    async def statistics(self, work: Work[T]) -> T:
        """Run or refuse."""
        self._refuse()
        return await self._store.statistics(work)

    async def ping(self) -> None:
        """Run or refuse."""
        self._refuse()
        await self._store.ping()

    async def aclose(self) -> None:
        """Nothing: who opened the real store closes it."""

    def _refuse(self) -> None:
        if self.down:
            self.refusals += 1
            raise StoreUnavailable("The database does not answer; it was switched off by the test.")
