"""Orders of the coordinator in progress, so many of one kind and no more."""

import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Orders:
    """Runs handlers through `start_soon`; each kind has its own bound, so that one cannot starve another."""

    def __init__(self, name: str, limit: int, start_soon: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
        self._name = name
        self._limit = limit
        self._start_soon = start_soon
        self._running = 0
        self._is_told = False

    def start(self, handle: Callable[[], Awaitable[None]]) -> bool:
        """Carry out an order, or give False when too many are in progress."""
        if self._running >= self._limit:
            if not self._is_told:
                self._is_told = True
                log.warning("too many orders at once", extra={"kind": self._name, "limit": self._limit})
            return False
        self._is_told = False
        self._running += 1

        async def run() -> None:
            try:
                await handle()
            finally:
                self._running -= 1

        self._start_soon(run)
        return True
