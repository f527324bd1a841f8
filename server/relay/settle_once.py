"""Starts the one settlement of a request, in a task that neither the consumer nor a shutdown can cut short.

Invariant: `start` calls the settlement at most once; every later call returns the same event.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.relay.services import RelayServices
    from server.relay.settlement import SettlementRecord

log = logging.getLogger("darkbloom.relay")


class SettleOnce:
    """The settlement of one request; runs in `nursery`, shielded, for the settle limit at most."""

    def __init__(
        self,
        services: RelayServices,
        nursery: trio.Nursery,
        on_settling: Callable[[SettlementRecord], None] | None = None,
    ) -> None:
        self._services = services
        self._on_settling = on_settling
        self._nursery = nursery
        self._done: trio.Event | None = None

    @property
    def started(self) -> bool:
        """True once a record was handed over."""
        return self._done is not None

    async def wait(self) -> None:
        """Wait for the end of a settlement that was started; returns at once without one, or when it is over."""
        if self._done is not None and not self._done.is_set():
            await self._done.wait()

    def start(self, record: SettlementRecord) -> trio.Event:
        """Settle with this record unless that happened; the event is set when it is over, well or not."""
        if self._done is None:
            self._done = trio.Event()
            # First the task: nothing that follows may keep a request from being settled.
            self._nursery.start_soon(self._run, record, self._done)
            self._tell(lambda: self._services.observer.request_ended(record))
            if self._on_settling is not None:
                self._tell(partial(self._on_settling, record))
        return self._done

    async def _run(self, record: SettlementRecord, done: trio.Event) -> None:
        limit = trio.current_time() + self._services.times.settle
        try:
            with trio.CancelScope(deadline=limit, shield=True) as scope:
                await self._services.settlement.settle(record)
        except Exception as error:
            # A failed settlement must not end the relay: the hold expires, the log and the counter tell of it.
            self._failed(record, type(error).__name__)
        else:
            if scope.cancelled_caught:
                self._failed(record, "deadline")
        finally:
            done.set()

    def _failed(self, record: SettlementRecord, kind: str) -> None:
        self._tell(self._services.observer.settlement_failed)
        log.error("settlement_failed", extra={"coord_request_id": record.coord_request_id, "kind": kind})

    def _tell(self, call: Callable[[], None]) -> None:
        """Run an observer's method; a fault of it ends neither the request nor the relay."""
        try:
            call()
        except Exception as error:
            log.error("observer_failed", extra={"kind": type(error).__name__})
