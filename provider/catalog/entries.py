"""The catalogue as the coordinator tells it; pure."""

from typing import Annotated

import msgspec

from provider.memory.policy import GIB, WEIGHT_PADDING_TENTHS

Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One build. `size_gb` is decimal GB, `min_ram_gb` GiB; 0 and "" mean that nothing is said."""

    id: str
    display_name: str = ""
    model_type: str = "text"
    size_gb: Amount = 0.0
    total_size_bytes: Count = 0
    min_ram_gb: Amount = 0.0
    architecture: str = ""
    family: str = ""
    description: str = ""
    quantization: str = ""
    max_context_length: Count = 0
    version: str = ""
    r2_prefix: str = ""
    aggregate_sha256: str = ""
    weight_hash: str = ""
    status: str = ""
    active: bool = True

    @property
    def expected_hash(self) -> str:
        """The weight hash that a machine must have, or ""."""
        return self.aggregate_sha256 or self.weight_hash

    @property
    def has_manifest(self) -> bool:
        """Whether its bytes were published with a manifest that can be verified."""
        return bool(self.r2_prefix and self.aggregate_sha256)

    @property
    def disk_bytes(self) -> int:
        """Its size on disk as far as it is known."""
        return self.total_size_bytes or int(self.size_gb * 1e9)

    @property
    def estimated_memory_gb(self) -> float:
        """GiB that its weights take in memory, as the load gate counts them."""
        return self.disk_bytes * WEIGHT_PADDING_TENTHS / 10 / GIB


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All entries, by id, and the download server that the coordinator names ("" if none)."""

    models: tuple[CatalogEntry, ...] = ()
    cdn_url: str | None = None
