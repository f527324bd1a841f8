"""The bound on what any policy could serve: examples by hand, and that no run passes it."""

from __future__ import annotations

import pytest
from msgspec import structs

from server.sim import make_report, simulate
from server.sim.catalog import SimModel
from server.sim.engine import BESIDE_PREFILL, PREFILL_OVERHEAD
from server.sim.fleet import MachineSpec
from server.sim.perfect import Absence, best_batch, machine_seconds, perfect, requests_per_second
from server.sim.scenarios import build
from server.sim.tally import Goal
from server.sim.trace import Arrival

MODEL = SimModel(id="m")
MODELS = {"m": MODEL}
MACHINE = MachineSpec(id="p", decode=50.0, prefill=500.0, batch_slowdown=0.5, concurrency=8, models=("m",))
GOAL = Goal(ttft_base_ms=2_000.0, ttft_per_token_ms=0.0, decode_tps=20.0)


def _arrivals(count: int, *, every: float = 0.0, prompt: int = 0, out: int = 100) -> list[Arrival]:
    return [
        Arrival(t_ms=1000 * every * number, model="m", prompt=prompt, max_tokens=1_000, out=out)
        for number in range(count)
    ]


def test_the_best_batch_is_the_largest_that_keeps_the_floor() -> None:
    # 50 / (1 + 0.5 · (n − 1)): 50, 33.3, 25, 20, 16.7
    assert best_batch(MACHINE, 20.0, MODEL) == 4
    assert best_batch(MACHINE, 21.0, MODEL) == 3
    assert best_batch(MACHINE, 60.0, MODEL) == 1
    assert best_batch(MACHINE, 1.0, MODEL) == 8


def test_a_request_costs_its_prefill_less_what_decodes_meanwhile_and_its_share_of_the_batch() -> None:
    seconds = machine_seconds(MACHINE, MODEL, prompt=500, out=100, floor_tps=20.0)
    assert seconds == pytest.approx((1 - BESIDE_PREFILL) * (PREFILL_OVERHEAD + 1.0) + 100 / 80)


ONE = (1 - BESIDE_PREFILL) * PREFILL_OVERHEAD + 1.25
"""Seconds of the machine for a hundred tokens without a prompt."""


def test_everything_that_fits_is_good() -> None:
    bound = perfect(_arrivals(10, every=2.0), [MACHINE], MODELS, GOAL)
    assert (bound.requests, bound.feasible, bound.good) == (10, 10, 10)
    assert bound.offered_load == pytest.approx(10 * ONE / 18.0)


def test_at_one_moment_only_those_are_good_whose_time_suffices() -> None:
    # Latest end: 2 s for the first content and 100 tokens at 20 a second.
    bound = perfect(_arrivals(50), [MACHINE], MODELS, GOAL)
    assert bound.good == int((2.0 + 5.0) / ONE)


def test_the_largest_is_left_out_when_time_is_short() -> None:
    arrivals = [*_arrivals(1, out=1_000), *_arrivals(5)]
    assert perfect(arrivals, [MACHINE], MODELS, GOAL).good == 6
    crowd = [*_arrivals(3, out=1_000), *_arrivals(10)]
    assert perfect(crowd, [MACHINE], MODELS, GOAL).good == 5 + 3


def test_a_prompt_that_no_machine_prefills_in_time_is_not_counted() -> None:
    bound = perfect(_arrivals(4, prompt=1_100), [MACHINE], MODELS, GOAL)
    assert (bound.feasible, bound.good) == (0, 0)


def test_machines_that_are_away_give_no_time() -> None:
    crowd = _arrivals(1_000, every=0.1)
    whole = perfect(crowd, [MACHINE], MODELS, GOAL)
    half = perfect(crowd, [MACHINE], MODELS, GOAL, absences=[Absence("p", 0.0, 53.45)])
    never = perfect(crowd, [MACHINE], MODELS, GOAL, absences=[Absence("p", 0.0, 1e9)])
    assert half.good == pytest.approx(whole.good / 2, abs=1)
    assert (never.good, never.feasible) == (0, 0)


def test_capacity_grows_with_machines() -> None:
    arrivals = _arrivals(50, prompt=100)
    one = requests_per_second(arrivals, [MACHINE], MODELS, GOAL)
    two = requests_per_second(arrivals, [MACHINE, structs.replace(MACHINE, id="q")], MODELS, GOAL)
    assert two == pytest.approx(2 * one)


def test_no_run_passes_the_bound() -> None:
    scenario = build("overload", 2)
    crowd = [structs.replace(one, t_ms=one.t_ms / 6) for one in scenario.setup.arrivals[:1_000]]
    setup = structs.replace(scenario.setup, arrivals=crowd, machines=scenario.setup.machines[:10])
    report = make_report(simulate(setup, scenario.policy))
    assert 0 < report.good <= report.perfect_good < report.jobs
