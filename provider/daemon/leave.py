"""How a daemon ends in order: running requests finish, then the coordinator hears that every terminal was sent.

Source: provider rules, drain.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from provider.daemon.control import DaemonControl
from provider.daemon.start import EXIT_FAILURE
from provider.link import CoordinatorLink
from provider.requests import RequestDesk

log = logging.getLogger(__name__)

EXIT_OK: Final = 0
FORCE_SECONDS: Final = 10.0


async def drain(control: DaemonControl, desk: RequestDesk, link: CoordinatorLink | None, *, late_after: float) -> int:
    """Take nothing new, finish what runs, leave; the second order ends requests early. Gives the exit code.

    After `late_after` seconds of waiting the log says so.
    """
    log.info("draining", extra={"in_flight": desk.live})
    desk.close_admission()
    async with trio.open_nursery() as waiters:
        waiters.start_soon(_warn_when_late, late_after)
        waiters.start_soon(_then, desk.wait_idle, waiters.cancel_scope.cancel)
        waiters.start_soon(_then, control.wait_force, waiters.cancel_scope.cancel)
    forced = desk.live > 0
    if forced:
        log.warning("ending requests early", extra={"in_flight": desk.live})
        desk.cancel_all()
        with trio.move_on_after(FORCE_SECONDS):
            await desk.wait_idle()
    with trio.CancelScope() as leaving:
        async with trio.open_nursery() as waiters:
            if not forced:
                waiters.start_soon(_then, control.wait_force, leaving.cancel)
            if link is not None:
                await link.drain()
            waiters.cancel_scope.cancel()
    return EXIT_FAILURE if desk.live else EXIT_OK


async def _warn_when_late(seconds: float) -> None:
    await trio.sleep(seconds)
    log.warning("requests still run after the drain timeout; a second signal ends them")
    await trio.sleep_forever()


async def _then(wait: Callable[[], Awaitable[None]], act: Callable[[], None]) -> None:
    await wait()
    act()
