"""The models of a simulated network: what they weigh, how fast they run, what their memory per token is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from server.registry.catalog import CatalogEntry

if TYPE_CHECKING:
    from collections.abc import Iterable


class SimModel(Struct, frozen=True, kw_only=True):
    """One model: weights in decimal GB, `kv_rate` in bytes per token, `speed` relative to the machine's benchmark."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    size_gb: Annotated[float, Meta(gt=0, le=2_000)] = 5.0
    kv_rate: Annotated[int, Meta(gt=0, le=10_000_000)] = 65_536
    speed: Annotated[float, Meta(gt=0, le=100)] = 1.0
    context: Annotated[int, Meta(gt=0)] = 32_768

    @property
    def load_gib(self) -> float:
        """Padded weights in GiB, as a machine counts them."""
        return self.size_gb * 1.2 * 1e9 / 2**30


def catalog_entries(models: Iterable[SimModel]) -> list[CatalogEntry]:
    """The catalogue that routing reads."""
    return [
        CatalogEntry(id=model.id, size_gb=model.size_gb, context_window=model.context, kv_rate=model.kv_rate)
        for model in models
    ]
