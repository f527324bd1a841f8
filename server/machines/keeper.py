"""Keeps what is learnt of machines in the database: read once at the start, written in batches once a minute.

Invariant: the registry never waits for it; what is not yet written stays in memory, bounded by the registry's records.
Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import trio

from server.machines.profile_rows import read_profiles, write_profiles
from server.machines.ratio_rows import read_ratios, write_ratios
from server.machines.rows import read_machines, write_machines
from server.registry.calibration import KEYS_MAX
from server.registry.demand_profile import PROFILES_MAX
from server.registry.machines import MACHINES_MAX
from server.store import Invalid, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.registry import Registry
    from server.store import Store, Tx

_log = logging.getLogger("darkbloom.machines")

FLUSH_SECONDS: Final = 60.0
BATCH: Final = 100
OBSERVED_AT_ONCE: Final = 100
LAST_FLUSH_SECONDS: Final = 5.0

T = TypeVar("T")


class Changing(Protocol[T]):
    """Records in memory of which some wait to be written."""

    def __len__(self) -> int:
        """How many there are."""

    def take_changed(self, limit: int) -> list[T]:
        """Hand out some that changed."""

    def put_back(self, records: list[T]) -> None:
        """Take those back that could not be written."""


class MachineKeeper:
    """Moves machine records, how far estimates were off, and what models need, between the registry and the database.

    `wall_clock` gives microseconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        wall_clock: Callable[[], int],
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._store = store
        self._registry = registry
        self._wall_clock = wall_clock
        self._flush_seconds = flush_seconds

    async def recover(self) -> int:
        """Give the registry what was learnt last; returns the number of machines. Raises StoreUnavailable."""
        found = await self._store.read(lambda tx: read_machines(tx, MACHINES_MAX))
        self._registry.machines.restore(found)
        self._registry.calibration.restore(await self._store.read(lambda tx: read_ratios(tx, KEYS_MAX)))
        self._registry.demand.profiles.restore(await self._store.read(lambda tx: read_profiles(tx, PROFILES_MAX)))
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
        """Observe all sessions and write what changed; returns the number of machines. Raises StoreUnavailable."""
        machines = self._registry.machines
        for number, session in enumerate(tuple(self._registry.sessions())):
            machines.observe(session)
            if number % OBSERVED_AT_ONCE == OBSERVED_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        now = self._wall_clock()
        written = await self._write(machines, write_machines)
        await self._write(self._registry.calibration, lambda tx, batch: write_ratios(tx, batch, now))
        await self._write(self._registry.demand.profiles, lambda tx, batch: write_profiles(tx, batch, now))
        return written

    async def _write(self, changing: Changing[T], write: Callable[[Tx, list[T]], Awaitable[None]]) -> int:
        written = 0
        # As many rounds as there are records now: what changes meanwhile is written the next time.
        for _ in range(len(changing) // BATCH + 1):
            batch = changing.take_changed(BATCH)
            if not batch:
                break
            try:
                written += await self._write_batch(batch, write)
            except BaseException:
                changing.put_back(batch)
                raise
        return written

    async def _write_batch(self, batch: list[T], write: Callable[[Tx, list[T]], Awaitable[None]]) -> int:
        """Write in one transaction; what the database cannot hold (providers choose their words) spoils only itself."""
        try:
            await self._store.write(lambda tx: write(tx, batch))
        except Invalid:
            if len(batch) == 1:
                _log.warning("machine_not_storable")
                return 0
            return sum([await self._write_batch([one], write) for one in batch])
        return len(batch)

    async def _flush_quietly(self) -> None:
        try:
            await self.flush()
        except StoreUnavailable:
            _log.warning("machines_not_written", extra={"machines": len(self._registry.machines)})
