"""The catalogue's entries as routing sees them, and entries of a file as the catalogue shows them."""

from __future__ import annotations

from typing import Final

from server.catalog.records import CAPABILITIES, CatalogModel, ModelFacts, Version
from server.registry import CatalogEntry

_GIGABYTE: Final = 1_000_000_000


def catalog_entry(model: CatalogModel) -> CatalogEntry:
    """What routing needs of a model."""
    version = model.version
    return CatalogEntry(
        id=model.id,
        weight_hash=version.aggregate_sha256 if version is not None else "",
        size_gb=version.total_size_bytes / _GIGABYTE if version is not None else 0.0,
        min_ram_gb=float(model.facts.min_ram_gb),
        context_window=model.facts.max_context_length,
        active=model.is_served,
        max_output=model.facts.max_output_length,
        features=tuple(model.facts.capabilities) or None,
        defaults=dict(model.facts.runtime_parameters),
        reasoning_opt_in=model.facts.reasoning_opt_in,
    )


def model_from_file(entry: CatalogEntry) -> CatalogModel:
    """An entry of the operator's file; its bytes are published nowhere."""
    return CatalogModel(
        id=entry.id,
        facts=ModelFacts(
            status="active" if entry.active else "retired",
            max_context_length=entry.context_window,
            max_output_length=entry.max_output,
            min_ram_gb=int(entry.min_ram_gb),
            capabilities=tuple(name for name in CAPABILITIES if name in (entry.features or ())),
            runtime_parameters=dict(entry.defaults),
            reasoning_opt_in=entry.reasoning_opt_in,
        ),
        version=Version(
            version="",
            r2_prefix="",
            aggregate_sha256=entry.weight_hash,
            total_size_bytes=int(entry.size_gb * _GIGABYTE),
            file_count=0,
        ),
    )
