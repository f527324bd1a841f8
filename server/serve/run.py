"""A coordinator's life in a process: start, serve, drain on a signal, end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

import trio

from server.observe.interpreter import freeze_started_objects
from server.observe.task_steps import measured_task_steps
from server.serve.coordinator import Coordinator, open_coordinator
from server.serve.first_steps import tell_first_steps

if TYPE_CHECKING:
    from server.config import CoordinatorSettings
    from server.observe import QueueingHandler

_log = logging.getLogger("darkbloom.serve")

# After the drain: what is left (long downloads, provider sockets) may still end in order.
CLOSE_SECONDS: Final = 15.0
# WebSocket close code "service restart" (IANA registry): providers come back with a random delay.
SERVICE_RESTART: Final = 1012
FORCED_EXIT_CODE: Final = 1
# A database that is slow must not keep the coordinator from serving.
FIRST_STEPS_SECONDS: Final = 2.0

OnReady = Callable[[list[str]], None]


async def run_coordinator(
    settings: CoordinatorSettings, *, on_ready: OnReady, log: QueueingHandler | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return; a second signal ends the process at once.

    `on_ready` gets the URLs as soon as connections are accepted. Raises what open_coordinator raises, and OSError when
    the address cannot be bound.
    """
    async with open_coordinator(settings, log=log) as coordinator, trio.open_nursery() as nursery:
        with measured_task_steps(coordinator.metrics, wanted=settings.step_profile):
            await _serve(coordinator, nursery, on_ready=on_ready, log=log)


async def _serve(
    coordinator: Coordinator, nursery: trio.Nursery, *, on_ready: OnReady, log: QueueingHandler | None
) -> None:
    settings = coordinator.settings
    urls = await nursery.start(coordinator.listener.run, settings.host, settings.port)
    reachable = [reachable_url(url) for url in urls]
    for url in reachable:
        _log.info("listening on %s", url, extra={"url": url})
    # Before anybody hears that this is ready, because a signal is only taken in order after that.
    with trio.move_on_after(FIRST_STEPS_SECONDS):
        await _tell_first_steps(coordinator, reachable[0])
    freeze_started_objects()
    on_ready(reachable)
    await _drain_on_signal(coordinator, log)


async def _tell_first_steps(coordinator: Coordinator, url: str) -> None:
    books = coordinator.books
    await tell_first_steps(
        books.store,
        books.accounts.local,
        coordinator.settings,
        url=url,
        throwaway=books.throwaway,
        terminal=sys.stderr if sys.stderr.isatty() else None,
    )


def reachable_url(url: str) -> str:
    """Return a URL under which this machine reaches a listener on all addresses."""
    return url.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")


async def _drain_on_signal(coordinator: Coordinator, log: QueueingHandler | None) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        await anext(signals)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_exit_on_next, signals, log)
            await stop(coordinator)
            nursery.cancel_scope.cancel()


async def stop(coordinator: Coordinator) -> None:
    """Refuse new inference, wait for what runs (at most the drain grace), then close everything in order."""
    drain, grace = coordinator.drain, coordinator.settings.drain_grace
    drain.set(draining=True)
    _log.info("draining", extra={"inflight": drain.inflight, "grace_seconds": grace})
    with trio.move_on_after(grace) as waiting:
        await drain.wait_until_empty()
    if waiting.cancelled_caught:
        _log.warning("the drain grace is over", extra={"inflight": drain.inflight})
    coordinator.link.close_all(SERVICE_RESTART, "the coordinator restarts; connect again after a random delay")
    await coordinator.listener.close(grace_seconds=CLOSE_SECONDS)


async def _exit_on_next(signals: AsyncIterator[int], log: QueueingHandler | None) -> None:
    await anext(signals)
    _log.warning("a second signal arrived; ending at once")
    if log is not None:
        log.stop()
    os._exit(FORCED_EXIT_CODE)
