"""Locks with a name and an end, kept in the database: one process at a time does a periodic job.

Each such job is idempotent anyway; the lock only saves work. A holder that dies loses it when the time is over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias

import trio

from server.store.engine import Store, Tx
from server.store.errors import StoreError

_log = logging.getLogger("darkbloom.store")

LockName: TypeAlias = Literal["reservation_sweeper", "payout_reconciler", "base_rewards", "retention"]

_MICROSECONDS: Final = 1_000_000
_ACQUIRE: Final = """
INSERT INTO locks (name, holder, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE locks.expires_at < $4 OR locks.holder = $2
RETURNING holder
"""


async def acquire(tx: Tx, name: str, *, holder: str, ttl_seconds: float, now: int) -> bool:
    """Take or renew a lock; False when another holder has it. `now` in microseconds since the epoch."""
    until = now + round(ttl_seconds * _MICROSECONDS)
    return await tx.row(_ACQUIRE, name, holder, until, now) is not None


async def release(tx: Tx, name: str, *, holder: str) -> bool:
    """Give a lock back; False when the holder had lost it already."""
    return await tx.execute("DELETE FROM locks WHERE name = $1 AND holder = $2", name, holder) == 1


async def run_under_lock(
    store: Store,
    name: LockName,
    job: Callable[[], Awaitable[None]],
    *,
    holder: str,
    ttl_seconds: float,
    wall_clock: Callable[[], int],
) -> bool:
    """Run `job` while holding the lock, renewed every third of its time; False, without running, when it is taken.

    The job goes on when a renewal fails: then another process may do the same work at the same time.
    """

    async def take(tx: Tx) -> bool:
        return await acquire(tx, name, holder=holder, ttl_seconds=ttl_seconds, now=wall_clock())

    if not await store.write(take):
        return False
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, store, take, name, ttl_seconds / 3)
            try:
                await job()
            except Exception as error:
                # Raised below, outside the nursery, so that it is not wrapped in a group.
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        try:
            await store.write(lambda tx: release(tx, name, holder=holder))
        except StoreError as error:
            _log.warning("a named lock was not given back: %s", error, extra={"lock": name})
    if failure is not None:
        raise failure
    return True


async def _keep(store: Store, take: Callable[[Tx], Awaitable[bool]], name: str, every_seconds: float) -> None:
    while True:
        await trio.sleep(every_seconds)
        try:
            if await store.write(take):
                continue
            problem = "another process took it"
        except StoreError as error:
            problem = str(error)
        _log.warning("a named lock was not renewed: %s", problem, extra={"lock": name})
