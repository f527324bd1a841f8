"""Staying connected to the coordinator: one session after another, with growing pauses between them.

Invariant: at most one session exists; whoever drains speaks to that one.
"""

import logging
import random
import time
from collections.abc import Callable

import trio

from provider.link.address import LinkAddress
from provider.link.backoff import Backoff
from provider.link.bell import Bell
from provider.link.connect import ConnectFailed, Dial, dial_tcp, open_connection
from provider.link.ports import ProviderPort
from provider.link.session import LinkSession
from provider.link.status import LinkStatus
from provider.link.timing import LinkTiming
from provider.observe.events import ProviderEvent, ignore_event

log = logging.getLogger(__name__)

SUSPENDED = "suspended"


class CoordinatorLink:
    """`bell` is rung by whoever changes the machine's load. `dial` opens the byte stream."""

    def __init__(
        self,
        address: LinkAddress,
        port: ProviderPort,
        bell: Bell,
        *,
        timing: LinkTiming | None = None,
        spread: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
        on_event: Callable[[ProviderEvent], None] = ignore_event,
        dial: Dial = dial_tcp,
    ) -> None:
        self.status = LinkStatus()
        self._address = address
        self._port = port
        self._bell = bell
        self._timing = timing or LinkTiming()
        self._backoff = Backoff(spread)
        self._wall_clock = wall_clock
        self._on_event = on_event
        self._dial = dial
        self._session: LinkSession | None = None
        self._is_leaving = False

    async def run(self) -> None:
        """Connect and reconnect until `drain` has left, or until cancelled."""
        while True:
            reason, registered_seconds = await self._one_session()
            if self._is_leaving:
                return
            self.status.last_error = reason
            delay = self._backoff.next_delay(registered_seconds)
            if reason == SUSPENDED:
                delay = 0.0
            self.status.reconnects += 1
            log.warning("connection ended", extra={"reason": reason, "retry_seconds": round(delay, 2)})
            self._on_event(ProviderEvent(kind="disconnected", text=reason, retry_seconds=delay))
            await trio.sleep(delay)

    def resume(self) -> None:
        """Let `run` connect again after a `drain`."""
        self._is_leaving = False

    async def drain(self) -> None:
        """Tell the coordinator that every terminal is sent, wait for its word within a bound, and leave politely.

        Call it when nothing is in flight; returns at once without a connection.
        """
        self._is_leaving = True
        session = self._session
        if session is None or session.registered_at is None:
            return
        if not await session.barrier():
            log.warning("drain was not acknowledged in time")
        await session.say_goodbye()

    async def _one_session(self) -> tuple[str, float | None]:
        """Run one connection; gives the reason of its end and for how many seconds it was registered."""
        session: LinkSession | None = None
        try:
            async with open_connection(self._address, self._timing, self._dial) as connection:
                session = LinkSession(
                    connection,
                    self._port,
                    timing=self._timing,
                    bell=self._bell,
                    status=self.status,
                    on_event=self._on_event,
                    wall_clock=self._wall_clock,
                )
                self._session = session
                self._begin()
                await session.run()
        except ConnectFailed as failed:
            return failed.reason, None
        finally:
            self._session = None
            if self.status.connected:
                self.status.since = self._wall_clock()
            self.status.connected = self.status.registered = False
        began = session.registered_at
        return session.end_reason, None if began is None else trio.current_time() - began

    def _begin(self) -> None:
        self.status.connected = True
        self.status.since = self._wall_clock()
        self.status.connections += 1
        # What the coordinator said on an earlier connection says nothing about this one.
        self.status.trust = self.status.runtime = None
        log.info("connected", extra={"address": str(self._address)})
        self._on_event(ProviderEvent(kind="connected"))
