"""Loading models before the first registration, so that a machine is warm when it is first asked."""

import logging
from pathlib import Path

import trio

from provider.daemon.control import DaemonControl
from provider.daemon.journal import choose_preload, read_loaded
from provider.daemon.parts import Parts
from provider.daemon.provider import Provider
from provider.daemon.start import DaemonRefused

log = logging.getLogger(__name__)


async def preload(parts: Parts, provider: Provider, control: DaemonControl, *, noted_in: Path) -> None:
    """Load what the slots hold; what takes too long goes on behind the registration. A drain ends the wait.

    Raises `DaemonRefused` when a model does not load, where the settings want a start to end then.
    """
    settings = parts.settings
    refusals: list[DaemonRefused] = []
    noted = await trio.to_thread.run_sync(read_loaded, noted_in)
    wanted = choose_preload(
        parts.inventory.model_ids,
        preferred=settings.preferred_model,
        wanted=settings.preload_models,
        noted=noted,
        slots=settings.max_model_slots,
    )

    async def load_all() -> None:
        for model_id in wanted:
            error = await provider.load_model(model_id)
            if error is not None and settings.startup_selftest_fail_closed and not control.is_draining:
                refusals.append(DaemonRefused(f"{error} The start ends, as `startup_selftest_fail_closed` asks."))
                break
        else:
            await parts.hashes.wait_first()
        waiters.cancel_scope.cancel()

    parts.slots.tests_loads = settings.startup_selftest
    try:
        with trio.move_on_after(settings.preload_timeout) as limit:
            async with trio.open_nursery() as waiters:
                waiters.start_soon(load_all)
                await control.wait_drain()
                waiters.cancel_scope.cancel()
    finally:
        parts.slots.tests_loads = True
    if refusals:
        raise refusals[0]
    if limit.cancelled_caught:
        log.warning("models still load or are hashed; registering without them")
