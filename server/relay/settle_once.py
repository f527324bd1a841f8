"""The one settlement of a request, in the request's own task: neither the consumer nor a shutdown can cut it short.

Invariant: one record is taken at most, and settled once.
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
    """The settlement of one request; whoever owns the request calls `finish` on every path out."""

    def __init__(self, services: RelayServices, on_settling: Callable[[SettlementRecord], None] | None = None) -> None:
        self._services = services
        self._on_settling = on_settling
        self._due: SettlementRecord | None = None
        self.started = False
        """A record was handed over."""

    def start(self, record: SettlementRecord) -> None:
        """Take the record that `finish` settles with, unless there was one already."""
        if self.started:
            return
        self.started = True
        self._due = record
        self._tell(partial(self._services.observer.request_ended, record))
        if self._on_settling is not None:
            self._tell(partial(self._on_settling, record))

    async def finish(self) -> None:
        """Settle what was started and not settled yet: shielded, for the settle limit at most. Raises nothing."""
        record, self._due = self._due, None
        if record is None:
            return
        limit = record.ended_at + self._services.times.settle
        try:
            with trio.CancelScope(deadline=limit, shield=True) as scope:
                await self._services.settlement.settle(record)
        except Exception as error:
            # A failed settlement must not end the relay: the hold expires, the log and the counter tell of it.
            self._failed(record, type(error).__name__)
        else:
            if scope.cancelled_caught:
                self._failed(record, "deadline")

    def _failed(self, record: SettlementRecord, kind: str) -> None:
        self._tell(self._services.observer.settlement_failed)
        log.error("settlement_failed", extra={"coord_request_id": record.coord_request_id, "kind": kind})

    def _tell(self, call: Callable[[], None]) -> None:
        """Run an observer's method; a fault of it ends neither the request nor the relay."""
        try:
            call()
        except Exception as error:
            log.error("observer_failed", extra={"kind": type(error).__name__})
