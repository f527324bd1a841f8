"""The model catalogue as routing sees it; without one, everything advertised counts."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from server.registry.state import ModelAd

SEEN_MODELS_MAX: Final = 4_096
GIB: Final = 2**30
LOAD_PADDING: Final = 1.2
"""Providers pad weights by this factor before they compare them with free memory."""


class CatalogEntry(Struct, frozen=True, kw_only=True):
    """One build: `size_gb` in decimal GB, `min_ram_gb` in GiB, token limits; 0 or "" when unknown.

    `features` are what the model can do (`tools`, `vision`, `reasoning`, `json_mode`, `structured_outputs`,
    `logprobs`), None when nobody said. `defaults` stand in a request for the members that its caller left out.
    `reasoning_opt_in`: the model thinks only when it is asked to.
    """

    id: str
    weight_hash: str = ""
    size_gb: float = 0.0
    min_ram_gb: float = 0.0
    context_window: int = 0
    kv_rate: int = 0
    active: bool = True
    max_output: int = 0
    features: tuple[str, ...] | None = None
    defaults: dict[str, bool | int | float | str] = {}
    reasoning_opt_in: bool = False


class Catalog:
    """Read-only rules over the configured entries; replaced as a whole when they change.

    An unconfigured catalogue knows what is offered now (`is_offered`), and remembers (bounded) what trusted providers
    ever advertised, so that a provider's restart makes its model temporarily unavailable and not unknown.
    """

    def __init__(
        self, entries: Iterable[CatalogEntry] | None = None, *, is_offered: Callable[[str], bool] | None = None
    ) -> None:
        self.configured = entries is not None
        self._is_offered = is_offered
        self._entries = {entry.id: entry for entry in entries or ()}
        self._seen: OrderedDict[str, None] = OrderedDict()

    def entry(self, model: str) -> CatalogEntry | None:
        """Return the entry of a model, active or not."""
        return self._entries.get(model)

    def knows(self, model: str) -> bool:
        """Whether a request may name this build."""
        if not self.configured:
            return model in self._seen or (self._is_offered is not None and self._is_offered(model))
        entry = self._entries.get(model)
        return entry is not None and entry.active

    def accepts(self, ad: ModelAd) -> bool:
        """Whether an advertised model is kept: known, and not contradicting the expected hash."""
        if not self.configured:
            return True
        entry = self._entries.get(ad.id)
        if entry is None or not entry.active:
            return False
        return not (entry.weight_hash and ad.weight_hash and entry.weight_hash != ad.weight_hash)

    def note_advertised(self, model: str) -> None:
        """Remember a model of an unconfigured catalogue."""
        if self.configured:
            return
        self._seen[model] = None
        self._seen.move_to_end(model)
        while len(self._seen) > SEEN_MODELS_MAX:
            self._seen.popitem(last=False)

    def expected_hash(self, model: str) -> str:
        """The weight hash the catalogue demands, or ""."""
        entry = self._entries.get(model)
        return entry.weight_hash if entry is not None else ""

    def size_gb(self, ad: ModelAd) -> float:
        """Weights in decimal GB: catalogue, else advertised, else 0 (unknown)."""
        entry = self._entries.get(ad.id)
        if entry is not None and entry.size_gb > 0:
            return entry.size_gb
        return ad.size_bytes / 1e9

    def load_gib(self, ad: ModelAd) -> float:
        """Padded weights in GiB as the provider's load gate counts them: its own estimate first; 0 is unknown."""
        if ad.estimated_memory_gb > 0:
            return ad.estimated_memory_gb
        if ad.size_bytes > 0:
            return ad.size_bytes * LOAD_PADDING / GIB
        return self.size_gb(ad) * LOAD_PADDING * 1e9 / GIB

    def min_ram_gb(self, model: str) -> float:
        """Smallest machine in GiB, 0 when not set."""
        entry = self._entries.get(model)
        return entry.min_ram_gb if entry is not None else 0.0

    def context_window(self, model: str) -> int:
        """Context limit in tokens, 0 when unknown."""
        entry = self._entries.get(model)
        return entry.context_window if entry is not None else 0
