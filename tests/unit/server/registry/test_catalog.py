"""The catalogue rules, and what holds without a catalogue."""

from __future__ import annotations

import pytest

from server.registry import Catalog, CatalogEntry
from server.registry.catalog import SEEN_MODELS_MAX
from server.registry.state import ModelAd


def test_without_catalogue_everything_advertised_counts() -> None:
    catalog = Catalog()
    assert catalog.accepts(ModelAd(id="m", weight_hash="X"))
    assert not catalog.knows("m")
    catalog.note_advertised("m")
    assert catalog.knows("m")
    assert (catalog.expected_hash("m"), catalog.min_ram_gb("m"), catalog.context_window("m")) == ("", 0, 0)


def test_seen_models_are_bounded() -> None:
    catalog = Catalog()
    for number in range(SEEN_MODELS_MAX + 1):
        catalog.note_advertised(f"m{number}")
    assert not catalog.knows("m0")
    assert catalog.knows("m1")


@pytest.mark.parametrize(
    ("model", "reported", "accepted"),
    [("m", "H", True), ("m", "", True), ("m", "X", False), ("open", "X", True), ("off", "", False), ("?", "", False)],
)
def test_configured_catalogue(model: str, reported: str, accepted: bool) -> None:
    catalog = Catalog(
        [CatalogEntry(id="m", weight_hash="H"), CatalogEntry(id="open"), CatalogEntry(id="off", active=False)]
    )
    assert catalog.accepts(ModelAd(id=model, weight_hash=reported)) is accepted


def test_sizes() -> None:
    catalog = Catalog([CatalogEntry(id="m", size_gb=28.0)])
    assert catalog.size_gb(ModelAd(id="m", size_bytes=5)) == 28
    assert catalog.size_gb(ModelAd(id="n", size_bytes=12_100_000_000)) == pytest.approx(12.1)
    assert catalog.load_gib(ModelAd(id="m")) == pytest.approx(31.2924, abs=1e-4)
    assert catalog.load_gib(ModelAd(id="m", size_bytes=2**30)) == pytest.approx(1.2)
    assert catalog.load_gib(ModelAd(id="m", size_bytes=2**30, estimated_memory_gb=7.5)) == 7.5
