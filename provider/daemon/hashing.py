"""Keeping the weight hashes of the inventory true, in the background and around every load."""

from collections.abc import Callable

import trio

from provider.daemon.inventory import Inventory
from provider.engine import LoadedModel
from provider.link.bell import Bell
from provider.models.source import ModelSource


class HashKeeper:
    """`run` hashes all models for the coordinator's catalogue, and again those whose files changed. Trio thread."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._bell = Bell()
        self._hashed = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    async def wait_first(self) -> None:
        """Wait until every model was hashed once."""
        await self._hashed.wait()

    def look_again(self) -> None:
        """Models came or went."""
        self._bell.ring()

    async def run(self) -> None:
        """Hash until cancelled."""
        limiter = trio.CapacityLimiter(1)
        inventory = self._inventory
        while True:
            for model_id in inventory.model_ids:
                changed = await trio.to_thread.run_sync(
                    inventory.refresh_hash, model_id, limiter=limiter, abandon_on_cancel=True
                )
                if changed:
                    inventory.note_change()
            self._hashed.set()
            await self._bell.wait()
            self._bell.clear()

    def around(self, load: Callable[[ModelSource], LoadedModel]) -> Callable[[ModelSource], LoadedModel]:
        """Wrap a loader: a hash whose files moved before or under the load is forgotten and taken anew."""
        inventory = self._inventory

        def note_stale() -> None:
            inventory.note_change()
            self._bell.ring()

        def loading(source: ModelSource) -> LoadedModel:
            stale = inventory.drop_stale_hash(source.model_id)
            model = load(source)
            if inventory.drop_stale_hash(source.model_id) or stale:
                self._token.run_sync_soon(note_stale)
            return model

        return loading
