"""The handle of a running daemon, for signals, for `darkbloom dev` and for tests."""

import trio

from provider.link import LinkStatus
from provider.requests import RequestDesk


class DaemonControl:
    """What the starter of a running daemon may do; given through `task_status`. Trio thread only."""

    def __init__(self, status: LinkStatus, desk: RequestDesk) -> None:
        self.status = status
        self._desk = desk
        self._drain = trio.Event()
        self._force = trio.Event()

    @property
    def in_flight(self) -> int:
        """Requests without a terminal."""
        return self._desk.live

    def drain(self) -> None:
        """Take no new requests, finish the running ones, then end; a second call ends these early."""
        if self._drain.is_set():
            self._force.set()
        self._drain.set()

    async def wait_drain(self) -> None:
        """Wait for the first call of `drain`."""
        await self._drain.wait()

    async def wait_force(self) -> None:
        """Wait for the second."""
        await self._force.wait()
