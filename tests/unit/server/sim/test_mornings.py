"""Mornings: what the forecast by the hour of the week spares those who come first, and what it costs."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from server.sim import Run, simulate
from server.sim.mornings import DAY_SECONDS, MACHINES, MODELS, MONDAYS, is_workday, morning_setup, since_opening
from server.sim.policies import with_settings
from server.sim.simulation import Policy
from server.sim.statistics import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST_SECONDS = 300.0
"""The wave: the first minutes after work begins."""
LATE_MS = 10_000.0
HOLIDAY = 18
"""The Monday of the third week."""


def run(days: Sequence[int], seed: int, *, forecast: bool, holidays: Sequence[int] = ()) -> Run:
    policy = with_settings(Policy(), {"warm_pool_forecast": str(forecast).lower()})
    return simulate(morning_setup(seed, days, holidays=holidays), policy)


def wave(done: Run) -> dict[int, list[float]]:
    """Times to the first token of the first minutes of each morning, in order (ms)."""
    found: dict[int, list[float]] = {}
    for job in done.tally.jobs:
        number, seconds = since_opening(job.started_at - done.setup.warm_up)
        if seconds < FIRST_SECONDS and job.ttft_ms is not None:
            found.setdefault(number, []).append(job.ttft_ms)
    return {number: sorted(times) for number, times in found.items()}


def share(times: Sequence[float], part: float) -> float:
    value = percentile(times, part)
    assert value is not None
    return value


def late(times: Sequence[float]) -> int:
    return sum(one > LATE_MS for one in times)


def loads(done: Run) -> int:
    return sum(provider.engine.loads for provider in done.providers)


def unused(done: Run) -> int:
    return sum(provider.engine.unused_loads for provider in done.providers)


def test_the_calendar_leaps_from_morning_to_morning() -> None:
    setup = morning_setup(1, MONDAYS)
    days = [int(setup.calendar(one.t_ms / 1000) // DAY_SECONDS) for one in setup.arrivals]
    assert tuple(day for day, _ in groupby(days)) == MONDAYS
    hours = {int(setup.calendar(one.t_ms / 1000) % DAY_SECONDS // 3_600) for one in setup.arrivals}
    assert hours == {8}
    assert [is_workday(day) for day in range(4, 11)] == [True] * 5 + [False] * 2


def test_the_second_monday_meets_warm_machines() -> None:
    done = run(MONDAYS[:2], 1, forecast=True)
    first, second = wave(done).values()
    assert share(first, 0.99) > 20_000
    assert share(second, 0.99) < 5_000
    assert unused(done) == 0


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_on_the_second_monday_fewer_wait_long_than_without_the_forecast_and_loads_are_no_more(seed: int) -> None:
    without, foreseen = (run(MONDAYS[:2], seed, forecast=one) for one in (False, True))
    assert late(wave(foreseen)[1]) <= late(wave(without)[1]) / 2
    assert loads(foreseen) <= loads(without)
    assert unused(foreseen) <= unused(without)


@pytest.mark.nightly
def test_a_fortnight_and_two_days_with_weekends_and_a_holiday() -> None:
    """From the second week on mornings are faster; what was loaded for nobody is what the holiday alone explains."""
    days = range(4, 20)
    without, foreseen = (run(days, 1, forecast=one, holidays=(HOLIDAY,)) for one in (False, True))
    learnt = [number for number, day in enumerate(days) if day >= days[0] + 7 and number in wave(without)]
    before, after = (sorted(time for number in learnt for time in wave(done)[number]) for done in (without, foreseen))
    assert share(after, 0.98) < share(before, 0.98) / 10
    assert late(after) <= late(before) / 3
    assert loads(foreseen) <= loads(without)
    assert unused(foreseen) - unused(without) <= MACHINES * len(MODELS)
