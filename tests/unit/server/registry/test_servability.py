"""Structural limits (acceptance 16)."""

from __future__ import annotations

import pytest

from server.registry import Dispatch, Refusal
from server.registry.catalog import Catalog
from server.registry.servability import exceeds_context, structural_budget
from server.registry.state import ModelAd
from tests.unit.server.registry.fleet import Fleet, request, session


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
    fleet = Fleet()
    fleet.warm("known", budget=10_000)
    larger = request(prompt_tokens=10_000, max_tokens=1)
    verdict = fleet.registry.decide(larger, fleet.now)
    assert isinstance(verdict, Refusal)
    assert verdict.reason == "prompt_too_long"
    fleet.connect("legacy")
    fleet.beat("legacy", capacity=False, warm_models=("m",))
    assert isinstance(fleet.registry.decide(larger, fleet.now), Dispatch)


def test_cold_budget_follows_machine_and_model() -> None:
    cold = session(memory_gb=64, models=(ModelAd(id="m", size_bytes=28_000_000_000),))
    assert structural_budget(cold, "m", Catalog()) == pytest.approx(62_565, abs=2)
    assert structural_budget(session(memory_gb=64), "m", Catalog()) is None
    assert structural_budget(session(memory_gb=0), "m", Catalog()) is None
