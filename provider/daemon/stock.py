"""Changing what a running daemon offers: new models first, then the old ones go when nobody needs them."""

from collections.abc import Sequence

import trio

from provider.daemon.hashing import HashKeeper
from provider.daemon.inventory import Inventory
from provider.models.facts import ModelFacts
from provider.models.slots import SlotManager

UNLOAD_POLL_SECONDS = 0.25
UNLOAD_SECONDS = 600.0


class Stock:
    """The inventory together with the slots."""

    def __init__(self, inventory: Inventory, hashes: HashKeeper, slots: SlotManager) -> None:
        self._inventory = inventory
        self._hashes = hashes
        self._slots = slots

    def offers(self, model_id: str) -> bool:
        """Whether requests for the model are taken."""
        return model_id in self._inventory

    async def unload(self, model_id: str) -> str:
        """Let go of a model; gives a sentence when that is not possible now."""
        if model_id not in self._slots.resident:
            return f"The model {model_id} is not loaded; see `darkbloom status`."
        if await self._slots.unload(model_id):
            return ""
        return f"The model {model_id} is answering requests; try again when they have ended."

    async def replace(self, facts: Sequence[ModelFacts]) -> None:
        """Offer exactly these models; requests that run on others finish, for at most ten minutes."""
        self._inventory.replace(facts)
        self._hashes.look_again()
        gone = [model_id for model_id in self._slots.resident if model_id not in self._inventory]
        with trio.move_on_after(UNLOAD_SECONDS):
            for model_id in gone:
                while model_id in self._slots.resident and not await self._slots.unload(model_id):
                    await trio.sleep(UNLOAD_POLL_SECONDS)

    async def offer(self, facts: ModelFacts, previous: str) -> None:
        """Offer a model too, in the place of `previous` if that is not ""; requests that run on it finish first.

        Files that changed under the same name are offered only when nobody uses the old ones any more: what is loaded
        and what is reported are never different.
        """
        gone = (facts.model_id, previous)
        others = [known for known in self._inventory.facts() if known.model_id not in gone]
        if facts.model_id in self._inventory:
            await self.replace(others)
        await self.replace([*others, facts])
