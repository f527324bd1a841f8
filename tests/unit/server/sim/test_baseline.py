"""What counts as a step back from committed figures; the scenarios themselves are held to theirs in their own tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from server.sim.baseline import BASELINE_SCENARIOS, Figures, read_baseline, steps_back, write_baseline
from server.sim.errors import SimulationError

COMMITTED = Path(__file__).with_name("baseline.json")
BEFORE = Figures(seed=1, goodput_per_second=10.0, ttft_p99_ms=1_000.0, fairness=0.9, wasted_tokens=1_000)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"goodput_per_second": 9.89}, "Goodput fell from 10.0 to 9.89"),
        ({"ttft_p99_ms": 1_051.0}, "p99 of the time to first token grew"),
        ({"fairness": 0.879}, "Fairness fell"),
        ({"wasted_tokens": 1_101}, "Wasted tokens grew"),
    ],
)
def test_more_than_the_allowed_change_is_a_step_back(changed: dict[str, float], word: str) -> None:
    (found,) = steps_back(BEFORE, structs.replace(BEFORE, **changed))
    assert word in found


def test_less_than_the_allowed_change_and_every_improvement_is_none() -> None:
    edge = Figures(seed=1, goodput_per_second=9.91, ttft_p99_ms=1_049.0, fairness=0.881, wasted_tokens=1_099)
    better = Figures(seed=1, goodput_per_second=20.0, ttft_p99_ms=1.0, fairness=1.0, wasted_tokens=0)
    assert steps_back(BEFORE, edge) == steps_back(BEFORE, better) == []


def test_a_baseline_that_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(path, {"b": BEFORE, "a": BEFORE})
    assert read_baseline(path) == {"a": BEFORE, "b": BEFORE}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}'])
def test_a_spoilt_baseline_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(SimulationError, match="not usable"):
        read_baseline(path)


def test_committed_figures_are_those_of_scenarios_that_have_to_have_them() -> None:
    assert set(read_baseline(COMMITTED)) <= set(BASELINE_SCENARIOS)
