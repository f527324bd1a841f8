"""The last failed load, with its model and moment."""

import time
from collections.abc import Callable

from provider.daemon.inventory import Inventory
from provider.models.slots import SlotManager
from provider.status.record import LoadError


class LoadErrors:
    """Looks at the slots whenever it is asked."""

    def __init__(
        self, slots: SlotManager, inventory: Inventory, *, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._slots = slots
        self._inventory = inventory
        self._wall_clock = wall_clock
        self._last: LoadError | None = None

    def last(self) -> LoadError | None:
        """Give the last error, or None."""
        text = self._slots.last_load_error
        if text is not None and (self._last is None or self._last.message != text):
            named = [model for model in self._inventory.model_ids if model in text]
            self._last = LoadError(model=max(named, key=len, default=""), message=text, at=self._wall_clock())
        return self._last
