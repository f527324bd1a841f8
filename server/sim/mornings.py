"""Mornings of several weeks: machines that let go of their models over night, and then everybody at once.

Only the hours from a quarter to seven to nine o'clock are run; in the rest of the day nothing is asked, and it is left
out. The calendar of the run leaps over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from server.sim.catalog import SimModel
from server.sim.fleet import equal_fleet
from server.sim.load import Lengths, Load, generate
from server.sim.perfect import requests_per_second
from server.sim.seeds import stream
from server.sim.simulation import Setup
from server.sim.tally import Goal

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from server.sim.trace import Arrival

MODELS: Final = (
    SimModel(id="small", size_gb=5.0),
    SimModel(id="large", size_gb=60.0, speed=0.6),
)
WEIGHTS: Final = {"small": 0.5, "large": 0.5}
PROMPT: Final = Lengths(median=200, sigma=0.5, low=16, high=1_000)
"""Short ones: what makes these requests wait is the cold machine."""
MACHINES: Final = 6
LOAD: Final = 0.2
DAY_SECONDS: Final = 86_400.0
BEGIN_SECONDS: Final = 6.75 * 3_600.0
"""Where each day begins."""
MORNING_SECONDS: Final = 2.25 * 3_600.0
WORK_BEGINS: Final = 80 * 60.0
"""After the beginning of the day: five past eight, long after everything idle was unloaded."""
WORK_SECONDS: Final = 50 * 60.0
MONDAYS: Final = (4, 11, 18)
"""Days since the epoch, which was a Thursday."""


def is_workday(day: int) -> bool:
    """Whether anything is asked on a day that is no holiday."""
    return (day + 3) % 7 < 5


def morning_setup(seed: int, days: Sequence[int], *, holidays: Container[int] = ()) -> Setup:
    """The mornings of these days, one after the other; on weekends and holidays nobody comes."""
    names = [model.id for model in MODELS]
    machines = equal_fleet(MACHINES, models=names, warm=(), mem=128.0, decode=60.0, prefill=800.0)
    asked = Load(seconds=WORK_SECONDS, rate=1.0, models=WEIGHTS, prompt=PROMPT)
    possible = requests_per_second(generate(asked, seed), machines, {model.id: model for model in MODELS}, Goal())
    busy = stream(seed, "days")
    arrivals: list[Arrival] = []
    for number, day in enumerate(days):
        if is_workday(day) and day not in holidays:
            rate = LOAD * possible * busy.uniform(0.8, 1.2)
            begin_ms = 1000 * (number * MORNING_SECONDS + WORK_BEGINS)
            for one in generate(structs.replace(asked, rate=rate), 1_000 * seed + day):
                arrivals.append(structs.replace(one, t_ms=begin_ms + one.t_ms))

    def calendar(seconds: float) -> float:
        number = min(len(days) - 1, int(seconds // MORNING_SECONDS))
        return days[number] * DAY_SECONDS + BEGIN_SECONDS + seconds - number * MORNING_SECONDS

    return Setup(name="mornings", seed=seed, arrivals=arrivals, machines=machines, models=MODELS, calendar=calendar)


def since_opening(seconds: float) -> tuple[int, float]:
    """Which of the days a time of the trace belongs to, and how many seconds after work began."""
    number, second = divmod(seconds, MORNING_SECONDS)
    return int(number), second - WORK_BEGINS
