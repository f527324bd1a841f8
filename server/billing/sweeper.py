"""Gives back what crashed or forgotten requests had reserved, and keeps the holds of living ones from expiring.

Invariant: a hold of a request that lives in this process is extended before this process sweeps; after the database was
away nothing is swept for one whole interval, so that other coordinators can extend theirs first.
Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from server.billing import holds
from server.store.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from server.billing.hold_desk import HoldDesk
    from server.billing.observer import BillingObserver
    from server.store.engine import Store

log = logging.getLogger("darkbloom.billing")

SWEEP_SECONDS: Final = 60.0
EXTEND_SECONDS: Final = 300.0
BATCH: Final = 512
_MICROSECONDS: Final = 1_000_000
_FOREVER: Final = 2**62

NamedLock = Callable[[], Awaitable[bool]]
"""Takes or renews the sweeper's lock for this coordinator; False while another one has it."""


class Sweeper:
    """Extends, sweeps, and recovers after a crash."""

    def __init__(
        self,
        store: Store,
        desk: HoldDesk,
        observer: BillingObserver,
        *,
        wall_clock: Callable[[], int],
        lock: NamedLock,
        reservation_seconds: float,
        sweep_seconds: float = SWEEP_SECONDS,
        extend_seconds: float = EXTEND_SECONDS,
    ) -> None:
        self._store = store
        self._desk = desk
        self._observer = observer
        self._wall_clock = wall_clock
        self._lock = lock
        self._lifetime = int(reservation_seconds * _MICROSECONDS)
        self._extend_after = int(extend_seconds * _MICROSECONDS)
        self._sweep_seconds = sweep_seconds
        self._trusting = True

    async def recover(self) -> int:
        """Release what the process before this one left open, if no other can be alive; returns how many.

        On SQLite every open hold is such a one, because one process alone has the file. On PostgreSQL they expire.
        """
        if self._store.kind != "sqlite":
            return 0
        return await self._release_expired(_FOREVER, "restart")

    async def run(self) -> None:
        """Extend and sweep every minute until cancelled."""
        while True:
            await trio.sleep(self._sweep_seconds)
            try:
                await self.turn()
            except StoreUnavailable:
                self._trusting = False
                log.warning("hold_sweep_failed", extra={"kind": "StoreUnavailable"})

    async def turn(self) -> int:
        """One round; returns how many holds were released. Raises StoreUnavailable."""
        await self.extend_living()
        if not self._trusting:
            self._trusting = True
            return 0
        if not await self._lock():
            return 0
        return await self._release_expired(self._wall_clock(), "expired")

    async def extend_living(self) -> None:
        """Move the expiry of living requests' holds that were not moved for five minutes."""
        now = self._wall_clock()
        until = now + self._lifetime
        due = [hold for hold in self._desk.open if hold.durable and hold.expires_at <= until - self._extend_after]
        for start in range(0, len(due), BATCH):
            batch = due[start : start + BATCH]
            await self._extend([hold.request_id for hold in batch], until)
            for hold in batch:
                hold.expires_at = until

    async def _extend(self, request_ids: Sequence[str], until: int) -> None:
        await self._store.write(lambda tx: holds.extend(tx, request_ids, until))

    async def _release_expired(self, before: int, reason: holds.ReleaseReason) -> int:
        released = 0
        while True:
            found = await self._store.read(lambda tx: holds.expired(tx, before, BATCH))
            gone = [request_id for request_id in found if await self._release(request_id, before, reason)]
            for request_id in gone:
                log.warning("hold_released", extra={"coord_request_id": request_id, "reason": reason})
            released += len(gone)
            # Without progress the rest belongs to somebody who is faster.
            if len(found) < BATCH or not gone:
                return released

    async def _release(self, request_id: str, before: int, reason: holds.ReleaseReason) -> bool:
        now = self._wall_clock()
        try:
            done = await self._store.write(lambda tx: holds.release(tx, request_id, reason, now, expired_before=before))
        except StoreUnavailable:
            raise
        except StoreError as error:
            # One row that cannot be released must not keep the others.
            log.error("hold_stuck", extra={"coord_request_id": request_id, "kind": type(error).__name__})
            return False
        if done:
            self._observer.hold_released(0, reason)
        return done
