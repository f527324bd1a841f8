"""When credentials were last used, written in batches off the request path, each at most once a minute.

Invariant: a note never waits for the database; what does not fit is dropped, because only a time of last use is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import trio

from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.store import Store, Tx

_log = logging.getLogger("darkbloom.accounts")

EVERY: Final = 60 * 1_000_000
FLUSH_SECONDS: Final = 10.0
MAX_NOTED: Final = 100_000
BATCH: Final = 500

WriteNote = Callable[["Tx", str, int], Awaitable[None]]


class UseNotes:
    """Notes of one table; `write` stores the time (µs) of one row and must not go back in time."""

    def __init__(self, store: Store, write: WriteNote, *, max_noted: int = MAX_NOTED) -> None:
        self._store = store
        self._write = write
        self._max_noted = max_noted
        self._written: dict[str, int] = {}
        self._pending: dict[str, int] = {}

    @property
    def pending(self) -> int:
        """How many notes wait for the database."""
        return len(self._pending)

    def note(self, key: str, now: int) -> None:
        """Note a use at `now` (µs)."""
        if now - self._written.get(key, -EVERY) < EVERY:
            return
        if len(self._written) >= self._max_noted:
            self._trim(now)
            if len(self._written) >= self._max_noted:
                return
        self._written[key] = now
        self._pending[key] = now

    async def flush(self) -> None:
        """Write what waits, in transactions of at most 500 rows; raises StoreUnavailable."""
        while self._pending:
            batch = [self._pending.popitem() for _ in range(min(BATCH, len(self._pending)))]
            # Always in one order, so that two processes cannot lock each other's rows.
            batch.sort()

            async def work(tx: Tx, batch: list[tuple[str, int]] = batch) -> None:
                for key, at in batch:
                    await self._write(tx, key, at)

            await self._store.write(work)

    async def run(self) -> None:
        """Flush every 10 s until cancelled, and once more at the end."""
        try:
            while True:
                await trio.sleep(FLUSH_SECONDS)
                await self._flush_or_log()
        finally:
            with trio.CancelScope(shield=True):
                with trio.move_on_after(2):
                    await self._flush_or_log()

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except StoreUnavailable:
            _log.warning("times of last use could not be written; they are dropped")

    def _trim(self, now: int) -> None:
        for key in [key for key, at in self._written.items() if now - at >= EVERY and key not in self._pending]:
            del self._written[key]
