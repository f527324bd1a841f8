"""Keeps what is remembered of machines in the database: read once at the start, written in batches once a minute.

Invariant: the registry never waits for it; what is not yet written stays in memory, bounded by the registry's records.
Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from server.machines.rows import read_machines, write_machines
from server.registry.machines import MACHINES_MAX
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.registry import Registry
    from server.registry.machines import MachineRecord
    from server.store import Store, Tx

_log = logging.getLogger("darkbloom.machines")

FLUSH_SECONDS: Final = 60.0
BATCH: Final = 100
OBSERVED_AT_ONCE: Final = 100
LAST_FLUSH_SECONDS: Final = 5.0


class MachineKeeper:
    """Moves machine records between the registry and the database."""

    def __init__(self, store: Store, registry: Registry, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._store = store
        self._registry = registry
        self._flush_seconds = flush_seconds

    async def recover(self) -> int:
        """Give the registry the machines that were seen last; returns how many. Raises StoreUnavailable."""
        found = await self._store.read(lambda tx: read_machines(tx, MACHINES_MAX))
        self._registry.machines.restore(found)
        return len(found)

    async def run(self) -> None:
        """Write what changed once a minute until cancelled, and once more then, 5 s at most."""
        try:
            while True:
                await trio.sleep(self._flush_seconds)
                await self._flush_quietly()
        finally:
            with trio.move_on_after(LAST_FLUSH_SECONDS, shield=True):
                await self._flush_quietly()

    async def flush(self) -> int:
        """Observe all sessions and write every changed record; returns how many. Raises StoreUnavailable."""
        machines = self._registry.machines
        for number, session in enumerate(tuple(self._registry.sessions())):
            machines.observe(session)
            if number % OBSERVED_AT_ONCE == OBSERVED_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        written = 0
        # As many rounds as there are records now: what changes meanwhile is written the next time.
        for _ in range(len(machines) // BATCH + 1):
            batch = machines.changed(BATCH)
            if not batch:
                break
            await self._write(batch)
            machines.stored(batch)
            written += len(batch)
        return written

    async def _write(self, batch: list[MachineRecord]) -> None:
        async def work(tx: Tx) -> None:
            await write_machines(tx, batch)

        await self._store.write(work)

    async def _flush_quietly(self) -> None:
        try:
            await self.flush()
        except StoreUnavailable:
            _log.warning("machines_not_written", extra={"machines": len(self._registry.machines)})
