"""The models of this machine as the local server shows them."""

from typing import cast

import trio

from protocol.api.errors import ApiError
from protocol.api.models import ModelDescription
from provider.daemon.inventory import Inventory
from provider.engine import Engine, Health, LoadedModel
from provider.local.tokens import Look
from provider.models.slots import SlotManager
from provider.models.source import LoadRefused
from provider.requests import RequestServices


class DaemonShelf:
    """Implements `provider.local.app.Shelf`. Trio thread only."""

    def __init__(self, inventory: Inventory, slots: SlotManager, engine: Engine, services: RequestServices) -> None:
        self._inventory = inventory
        self._slots = slots
        self._engine = engine
        self._services = services
        self._created = int(services.wall_clock())

    def model_ids(self) -> tuple[str, ...]:
        """See `Shelf`."""
        return self._inventory.model_ids

    def describe(self, model_id: str) -> ModelDescription:
        """See `Shelf`."""
        entry = next(entry for entry in self._inventory.entries() if entry.id == model_id)
        loaded = self._slots.get(model_id)
        return ModelDescription(
            model=model_id,
            created=self._created,
            quantization=entry.quantization or None,
            model_type=entry.model_type or None,
            context_length=None if loaded is None else loaded.context_tokens,
            provider_count=1,
            routable_providers=1,
            warm_providers=int(loaded is not None),
            can_accept=True,
        )

    def size_bytes(self, model_id: str) -> int:
        """See `Shelf`."""
        return next((entry.size_bytes for entry in self._inventory.entries() if entry.id == model_id), 0)

    async def unload(self, model_id: str) -> object:
        """See `Shelf`."""
        return await self._slots.unload(model_id)

    def keep(self, model_id: str, seconds: float | None) -> None:
        """See `Shelf`."""
        self._slots.keep(model_id, seconds)

    @property
    def is_healthy(self) -> bool:
        """See `Shelf`."""
        return self._engine.health in (Health.GOOD, Health.WEDGE_SUSPECTED)

    async def with_model(self, model_id: str, look: Look) -> object:
        """Load a model if needed and look at it on the one thread that may use tokenizers; raises `ApiError`."""
        with self._slots.pin(model_id):
            try:
                model: LoadedModel = await self._slots.ensure_loaded(model_id)
            except LoadRefused as refused:
                raise ApiError(503, "model_load_failed", str(refused), retry_after_seconds=2) from None
            return cast(object, await trio.to_thread.run_sync(look, model, limiter=self._services.renderer))

    def only_model(self) -> str:
        """The model that is meant when none is named: the only one, or ""."""
        found = self._inventory.model_ids
        return found[0] if len(found) == 1 else ""
