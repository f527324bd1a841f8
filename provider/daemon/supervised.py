"""Background loops of the daemon: a fault ends one turn of a loop, never the daemon."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from provider.observe.place import last_place

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 60.0
CALM_SECONDS: Final = 300.0
"""A loop that ran for this long before its fault starts with the first pause again."""


async def supervised(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a loop, and again after a fault, with growing pauses, until it returns or is cancelled.

    The fault's kind and place are logged; its text may hold content and stays here.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = trio.current_time()
        try:
            await run()
        except Exception as error:
            if trio.current_time() - began >= CALM_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            place = last_place(error)
            log.error("background task failed", extra={"task": name, "fault": type(error).__name__, "place": place})
            await trio.sleep(pause)
            pause = min(LAST_PAUSE_SECONDS, 2 * pause)
        else:
            return
