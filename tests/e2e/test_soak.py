"""A few seconds of the soak, so that it is known to run before somebody needs it for hours."""

from __future__ import annotations

from pathlib import Path

from tests.testbed.soak import soak

SECONDS, SEED = 4.0, 20


async def test_short_soak_breaks_no_invariant(tmp_path: Path) -> None:
    run = await soak(SECONDS, SEED, tmp_path)
    assert run.broken == []
    assert sum(run.fleet.drawn.values()) > 0
    assert any(name.endswith("complete") for name in run.crowd.counts)
