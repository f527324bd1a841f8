"""Structural limits (acceptance 16)."""

from __future__ import annotations

import pytest

from server.registry.catalog import Catalog
from server.registry.servability import exceeds_context, exceeds_every_budget, structural_budget
from server.registry.state import ModelAd
from tests.unit.server.registry.fleet import session, slot


@pytest.mark.parametrize(
    ("model", "prompt", "output", "window", "over"),
    [
        ("m", 7_000, 1_500, 8_192, True),
        ("m", 6_692, 1_500, 8_192, False),
        ("m", 10**9, 1, 0, False),
        ("gpt-oss-20b", 6_000, 1_000, 8_192, True),
        ("m", 6_000, 1_000, 8_192, False),
    ],
)
def test_context(model: str, prompt: int, output: int, window: int, over: bool) -> None:
    assert exceeds_context(model, prompt, output, window) is over


def test_one_unknown_budget_makes_it_servable() -> None:
    known = session(slot(budget=(10_000, 9_000, 0)))
    legacy = session(slot(), has_capacity=False)
    assert exceeds_every_budget([known], "m", 10_001, Catalog())
    assert not exceeds_every_budget([known], "m", 10_000, Catalog())
    assert not exceeds_every_budget([legacy, known], "m", 50_000, Catalog())
    assert not exceeds_every_budget([], "m", 50_000, Catalog())


def test_cold_budget_follows_machine_and_model() -> None:
    cold = session(memory_gb=64, models=(ModelAd(id="m", size_bytes=28_000_000_000),))
    assert structural_budget(cold, "m", Catalog()) == pytest.approx(62_565, abs=2)
    assert structural_budget(session(memory_gb=64), "m", Catalog()) is None
    assert structural_budget(session(memory_gb=0), "m", Catalog()) is None
