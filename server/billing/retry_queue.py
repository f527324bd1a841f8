"""Money operations that wait for a database that is away.

Invariant: an operation stays in the queue until it succeeded or can never succeed; operations are idempotent, so that
one whose acknowledgement was lost may run again.
Owner: the one task in `run`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from server.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from server.billing.observer import BillingObserver

log = logging.getLogger("darkbloom.billing")

MAX_WAITING: Final = 10_000
FIRST_DELAY_SECONDS: Final = 0.05
LAST_DELAY_SECONDS: Final = 120.0
LAST_TRY_SECONDS: Final = 5.0


class Waiting(NamedTuple):
    """An operation on a request's money; `name` says which for the log."""

    name: str
    request_id: str
    work: Callable[[], Awaitable[None]]


class RetryQueue:
    """Runs operations in order, with growing pauses while the store is unavailable."""

    def __init__(self, observer: BillingObserver, *, limit: int = MAX_WAITING) -> None:
        self._observer = observer
        self._limit = limit
        self._waiting: deque[Waiting] = deque()
        self._woken = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, name: str, request_id: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Add an operation. False: the queue is full, and it was given up, logged and counted. Never blocks.

        Whoever gets False forgets the request's hold, so that it expires.
        """
        if len(self._waiting) >= self._limit:
            log.error("money_operation_lost", extra={"operation": name, "coord_request_id": request_id})
            self._observer.lost(name)
            return False
        self._waiting.append(Waiting(name, request_id, work))
        self._observer.deferred(len(self._waiting))
        self._woken.set()
        return True

    async def run(self) -> None:
        """Work until cancelled; then try what is left once more, for 5 seconds at most."""
        try:
            while True:
                await self._work()
                self._woken = trio.Event()
                await self._woken.wait()
        finally:
            with trio.move_on_after(LAST_TRY_SECONDS, shield=True):
                await self._last_try()
            for left in self._waiting:
                log.error("money_operation_lost", extra={"operation": left.name, "coord_request_id": left.request_id})

    async def _work(self) -> None:
        failures = 0
        while self._waiting:
            if await self._attempt(self._waiting[0]):
                self._waiting.popleft()
                failures = 0
                continue
            # The exponent is bounded: the database may be away for days.
            await trio.sleep(min(FIRST_DELAY_SECONDS * 2 ** min(failures, 20), LAST_DELAY_SECONDS))
            failures += 1

    async def _last_try(self) -> None:
        while self._waiting:
            if not await self._attempt(self._waiting[0]):
                return
            self._waiting.popleft()

    async def _attempt(self, waiting: Waiting) -> bool:
        """True when the operation is over, well or not."""
        try:
            await waiting.work()
        except StoreUnavailable:
            return False
        except Exception as error:
            log.error(
                "money_operation_refused",
                extra={
                    "operation": waiting.name,
                    "coord_request_id": waiting.request_id,
                    "kind": type(error).__name__,
                },
            )
            self._observer.lost(waiting.name)
        return True
