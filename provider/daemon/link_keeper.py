"""The connection over the life of a daemon: kept while the schedule is open, renewed on order, left in between.

Invariant: before the connection is left, requests are refused and the running ones have ended.
Owner: the daemon's nursery.
"""

import logging
from collections.abc import Awaitable, Callable

import trio

from provider.daemon.doorman import Doorman, Reason
from provider.link import CoordinatorLink
from provider.models.slots import SlotManager
from provider.requests import RequestDesk
from provider.schedule.keeper import ScheduleKeeper

log = logging.getLogger(__name__)


class LinkKeeper:
    """`run` until cancelled."""

    def __init__(
        self,
        link: CoordinatorLink,
        doorman: Doorman,
        desk: RequestDesk,
        slots: SlotManager,
        schedule: ScheduleKeeper,
    ) -> None:
        self._link = link
        self._doorman = doorman
        self._desk = desk
        self._slots = slots
        self._schedule = schedule
        self._renewal = trio.Event()

    def renew(self) -> None:
        """Register again as soon as no request runs, for example with a new token."""
        self._renewal.set()

    async def run(self) -> None:
        """Connect whenever the schedule is open."""
        while True:
            while not self._schedule.is_open:
                await self._schedule.wait_change()
            self._doorman.open("schedule")
            await self._while_open()
            await self._rest()

    async def _while_open(self) -> None:
        self._renewal = trio.Event()
        self._link.resume()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link.run)
            async with trio.open_nursery() as either:
                either.start_soon(self._then_cancel, self._closed, either.cancel_scope)
                either.start_soon(self._then_cancel, self._renewal.wait, either.cancel_scope)
            reason: Reason = "renewing" if self._schedule.is_open else "schedule"
            log.info("leaving the coordinator for a while", extra={"why": reason, "in_flight": self._desk.live})
            self._doorman.close(reason)
            await self._desk.wait_idle()
            await self._link.drain()
            nursery.cancel_scope.cancel()
        self._doorman.open("renewing")

    async def _closed(self) -> None:
        while self._schedule.is_open:
            await self._schedule.wait_change()

    async def _rest(self) -> None:
        """Free the memory for the time outside the schedule; after a renewal there is nothing to do."""
        if self._schedule.is_open:
            return
        for model_id in await self._slots.unload_idle(0):
            log.info("model unloaded outside the schedule", extra={"model": model_id})

    @staticmethod
    async def _then_cancel(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        await wait()
        scope.cancel()
