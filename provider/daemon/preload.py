"""Loading models before the first registration, so that a machine is warm when it is first asked."""

import logging
from pathlib import Path

import trio

from provider.daemon.control import DaemonControl
from provider.daemon.journal import choose_preload, read_loaded
from provider.daemon.parts import Parts
from provider.daemon.provider import Provider

log = logging.getLogger(__name__)


async def preload(parts: Parts, provider: Provider, control: DaemonControl, *, noted_in: Path) -> None:
    """Load what the slots hold; what takes too long goes on behind the registration. A drain ends the wait."""
    noted = await trio.to_thread.run_sync(read_loaded, noted_in)
    wanted = choose_preload(
        parts.inventory.model_ids,
        wanted=parts.settings.preload_models,
        noted=noted,
        slots=parts.settings.max_model_slots,
    )

    async def load_all() -> None:
        for model_id in wanted:
            await provider.load_model(model_id)
        await parts.hashes.wait_first()
        waiters.cancel_scope.cancel()

    with trio.move_on_after(parts.settings.preload_timeout) as limit:
        async with trio.open_nursery() as waiters:
            waiters.start_soon(load_all)
            await control.wait_drain()
            waiters.cancel_scope.cancel()
    if limit.cancelled_caught:
        log.warning("models still load or are hashed; registering without them")
