"""The handle of a running daemon, for signals, for the control socket, for `darkbloom dev` and for tests."""

from collections.abc import Callable

import trio

from provider.link import LinkStatus
from provider.requests import RequestDesk


class DaemonControl:
    """What the starter of a running daemon may do; given through `task_status`. Trio thread only."""

    def __init__(self, status: LinkStatus, desk: RequestDesk) -> None:
        self.status = status
        self.local_url = ""
        """Where programs on this machine are served; "" where they are not."""
        self.wants_restart = False
        """Whether the end is to be followed by a new start."""
        self._desk = desk
        self._drain = trio.Event()
        self._force = trio.Event()
        self._renew: Callable[[], None] = lambda: None

    @property
    def in_flight(self) -> int:
        """Requests without a terminal."""
        return self._desk.live

    @property
    def is_draining(self) -> bool:
        """Whether this daemon is about to end."""
        return self._drain.is_set()

    def drain(self) -> None:
        """Take no new requests, finish the running ones, then end; a second call ends these early."""
        if self._drain.is_set():
            self._force.set()
        self._drain.set()

    def restart(self) -> None:
        """Drain and end with the status that asks for a new start."""
        self.wants_restart = True
        if not self._drain.is_set():
            self.drain()

    def force(self) -> None:
        """End at once: running requests get their terminals early."""
        self._drain.set()
        self._force.set()

    def on_renew(self, renew: Callable[[], None]) -> None:
        """Say what `renew` does."""
        self._renew = renew

    def renew(self) -> None:
        """Register again with the present token, when no request runs."""
        self._renew()

    async def wait_drain(self) -> None:
        """Wait for the first call of `drain`."""
        await self._drain.wait()

    async def wait_force(self) -> None:
        """Wait for the second."""
        await self._force.wait()
