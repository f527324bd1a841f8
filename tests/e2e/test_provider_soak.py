"""A minute of the provider soak, so that it is known to run before somebody needs it for hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testbed.provider_soak import ProviderSoak

SECONDS, SEED = 60.0, 3


@pytest.mark.nightly
async def test_short_soak_of_a_provider_breaks_no_invariant(tmp_path: Path) -> None:
    soak = ProviderSoak(SEED)
    await soak.run(SECONDS, tmp_path)
    # Caches still fill in so short a run: memory is judged by the long one.
    assert [text for text in soak.broken if not text.startswith("memory grew")] == []
    assert soak.counts["read complete"] > 0
