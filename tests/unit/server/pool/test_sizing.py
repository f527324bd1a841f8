"""How many warm machines a model needs: the worked examples."""

from __future__ import annotations

import pytest

from server.pool.sizing import (
    Load,
    has_pressure,
    loads_this_round,
    offered_load,
    places_per_machine,
    service_seconds,
    target_warm,
)
from server.registry.demand import Demand, Signal

K = 0.39


@pytest.mark.parametrize(
    ("solo", "prefill", "load", "warm", "cold", "service", "places", "offered", "target"),
    [
        (60.0, 720.0, Load(10, 2, 3, 1.5), 4, 10, 4.978, 7, 22.467, 5),
        (23.0, 276.0, Load(10, 2, 3, 1.5), 4, 10, 12.986, 1, 34.478, 14),
        (60.0, 720.0, Load(40, 10, 10, 5.0), 4, 1, 4.978, 7, 84.889, 5),
    ],
)
def test_worked_examples(
    solo: float,
    prefill: float,
    load: Load,
    warm: int,
    cold: int,
    service: float,
    places: int,
    offered: float,
    target: int,
) -> None:
    seconds = service_seconds(prefill, solo)
    assert seconds == pytest.approx(service, abs=0.001)
    assert places_per_machine(8, solo, K) == places
    found = offered_load(load, seconds)
    assert found == pytest.approx(offered, abs=0.001)
    assert target_warm(offered=found, places=places, warm=warm, eligible_cold=cold, pressure=True) == target


def test_pressure_alone_asks_for_one_more_and_calm_for_none() -> None:
    assert target_warm(offered=0.0, places=7, warm=4, eligible_cold=10, pressure=True) == 5
    assert target_warm(offered=0.0, places=7, warm=4, eligible_cold=10, pressure=False) == 4
    assert target_warm(offered=99.0, places=7, warm=4, eligible_cold=10, pressure=False) == 4
    assert target_warm(offered=0.0, places=7, warm=1, eligible_cold=10, pressure=False, floor=3) == 3
    assert target_warm(offered=0.0, places=7, warm=1, eligible_cold=1, pressure=False, floor=9) == 2


@pytest.mark.parametrize(
    ("gap", "loads"), [(0, 0), (1, 1), (3, 3), (4, 4), (7, 4), (10, 5), (20, 10), (40, 16), (100, 16), (-3, 0)]
)
def test_loads_of_a_round(gap: int, loads: int) -> None:
    assert loads_this_round(gap) == loads


def test_unknown_speeds_have_fallbacks() -> None:
    assert service_seconds(0.0, 60.0) == 120.0
    assert service_seconds(100_000.0, 10_000.0) == 0.5
    assert places_per_machine(8, 0.0, K) == 4
    assert places_per_machine(0, 60.0, K) == 4


@pytest.mark.parametrize(
    ("counts", "queued", "saturated", "pressure"),
    [
        ({}, 0, 4, False),
        ({}, 1, 0, True),
        ({Signal.CAPACITY_REJECT: 1.0}, 0, 0, True),
        ({Signal.CAPACITY_REJECT: 0.5}, 0, 0, False),
        ({Signal.TTFT_MISS: 1.0}, 0, 0, True),
        ({Signal.COLD_DISPATCH: 1.0}, 0, 0, True),
        ({Signal.SPECULATIVE_STARTED: 1.0}, 0, 0, False),
        ({Signal.SPECULATIVE_STARTED: 2.0}, 0, 0, True),
        ({Signal.SPECULATIVE_WON: 1.0}, 0, 0, True),
        ({Signal.SPECULATIVE_STARTED: 0.5}, 0, 3, False),
        ({Signal.SPECULATIVE_STARTED: 0.5}, 0, 4, True),
    ],
)
def test_pressure(counts: dict[Signal, float], queued: int, saturated: int, pressure: bool) -> None:
    assert has_pressure(counts, queued=queued, saturated=saturated, warm=5) is pressure


def test_counters_halve_with_activity_and_vanish_without() -> None:
    demand = Demand()
    for second in range(0, 60, 6):
        demand.note("m", Signal.TTFT_MISS, float(second))
    assert demand.read("m", 59.0) == {Signal.TTFT_MISS: 10.0}
    assert demand.read("m", 60.0) == {Signal.TTFT_MISS: 5.0}
    assert demand.read("m", 114.0) == {Signal.TTFT_MISS: 5.0}
    assert demand.read("m", 114.1) == {}
    assert demand.read("other", 0.0) == {}


def test_spilled_arrivals_are_taken_once() -> None:
    demand = Demand()
    demand.note("m", Signal.CAPACITY_REJECT, 0.0)
    demand.note("m", Signal.COLD_DISPATCH, 0.0)
    demand.note("m", Signal.SPECULATIVE_WON, 0.0)
    assert demand.take_spilled("m") == 2
    assert demand.take_spilled("m") == 0
    assert demand.take_spilled("other") == 0


def test_traffic_is_remembered_for_ten_minutes() -> None:
    demand = Demand()
    demand.asked("m", 0.0)
    assert demand.has_traffic("m", 600.0)
    assert not demand.has_traffic("m", 600.1)
    assert not demand.has_traffic("other", 0.0)
