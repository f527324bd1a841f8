"""Telling systemd that a service of type `notify` is ready, alive, or stopping.

Source: sd_notify(3): datagrams of `KEY=value` lines to a unix socket.
"""

import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

log = logging.getLogger(__name__)

LEAST_SECONDS: Final = 1.0


class Notifier:
    """Without a socket every call does nothing."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """The service has started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The service makes progress."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.connect(self._address)
                line.send(text.encode())
        except OSError as error:
            log.warning("the service manager cannot be told", extra={"errno": error.errno})


async def keep_alive(notifier: Notifier, watchdog_seconds: float, is_good: Callable[[], bool]) -> None:
    """Say "alive" twice in each watchdog period while the engine makes progress; silence gets the process restarted."""
    if watchdog_seconds <= 0:
        return
    while True:
        if is_good():
            notifier.alive()
        await trio.sleep(max(LEAST_SECONDS, watchdog_seconds / 2))
