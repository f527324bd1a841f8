"""What is foreseen costs little: few looks over the fleet, and no loads without end where loads fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protocol.messages.from_provider import LoadModelStatus, ModelEntry
from server.pool import PoolPolicy, PoolRunner, turns, warm_pool
from server.pool.candidates import ColdSurvey, cold_machines
from server.registry import LoadCause
from server.registry.demand_profile import HOUR_SECONDS
from tests.unit.server.pool.test_forecast import NINE, WEEK, Office
from tests.unit.server.pool.test_warm_pool import MODEL, OTHER, cold, suffer
from tests.unit.server.registry.fleet import Fleet, register_message

if TYPE_CHECKING:
    from server.pool.fleet_reader import FleetReader


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose machines the controller surveyed, in order."""
    found: list[str] = []

    def noted(reader: FleetReader, model: str, now: float, **part: int) -> ColdSurvey:
        found.append(model)
        return cold_machines(reader, model, now, **part)

    monkeypatch.setattr(warm_pool, "cold_machines", noted)
    return found


def test_one_model_a_round_looks_for_machines_the_one_that_waited_longest(fleet: Fleet, surveys: list[str]) -> None:
    models = ("x", "y", "z")
    fleet.connect("a", message=register_message(*(ModelEntry(id=model) for model in models)))
    fleet.beat("a", free_for_load=40.0)
    office = Office(fleet, dict.fromkeys(models, 1), observe_only=True)
    for _ in range(6):
        assert sum(one.loads for one in office.tick(1.0).snapshots) == 1
    assert surveys == [*models, *models]


def test_after_a_look_in_vain_a_model_rests_for_a_minute(fleet: Fleet, surveys: list[str]) -> None:
    cold(fleet, "full", free_for_load=2.0)
    office = Office(fleet, {MODEL: 1, OTHER: 1})
    for _ in range(60):
        assert office.tick(1.0).orders == ()
    assert surveys == [MODEL, OTHER]
    office.tick(1.0)
    assert surveys == [MODEL, OTHER, MODEL]


def test_a_look_goes_on_where_the_last_one_ended(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines a turn, five of them, and room on the fourth alone: the second turn finds it, and the next stays."""
    monkeypatch.setattr(turns, "PART", 2)
    monkeypatch.setattr(warm_pool, "PART", 2)
    for number in range(5):
        cold(fleet, f"c{number}", free_for_load=40.0 if number == 3 else 2.0)
    office = Office(fleet, {MODEL: 1})
    looks = [office.tick(1.0) for _ in range(3)]
    assert [[order.session.session_id for order in one.orders] for one in looks] == [[], ["c3"], ["c3"]]
    assert [one.snapshots[0].disqualified for one in looks] == [{"no_room": 2}, {"no_room": 1}, {"no_room": 1}]


def test_nobody_looks_where_nothing_can_be_ordered(fleet: Fleet, surveys: list[str]) -> None:
    for name in ("a", "b", "c"):
        cold(fleet, name)
    fleet.registry.request_load("a", MODEL, LoadCause.FORECAST, fleet.now)
    (snapshot,) = Office(fleet, {MODEL: 1}).tick().snapshots
    assert (snapshot.foreseen, snapshot.pending) == (1, 1)
    (snapshot,) = Office(fleet, {MODEL: 2}, max_pending=1).tick().snapshots
    assert (snapshot.foreseen, snapshot.target) == (2, 2)
    assert surveys == []


def test_what_is_needed_now_looks_in_every_round(fleet: Fleet, surveys: list[str]) -> None:
    office = Office(fleet, {OTHER: 1})
    suffer(fleet)
    for _ in range(3):
        office.tick(1.0)
    assert surveys == [MODEL, OTHER, MODEL, MODEL]


class FailingMachine:
    """A running controller in the first minutes of nine; the one machine that it can ask fails, or succeeds."""

    def __init__(self, fleet: Fleet) -> None:
        cold(fleet, "only")
        self.fleet = fleet
        self.office = Office(fleet, {MODEL: 1})
        for minute in range(60):
            fleet.registry.demand.profiles.note(MODEL, 1, NINE + HOUR_SECONDS + 60 * minute, 60.0)
        self.office.date = WEEK + NINE
        runner = PoolRunner(fleet.registry, PoolPolicy())
        runner.warm_pool = self.office.pool

    def answers(self, status: str, cause: LoadCause = LoadCause.FORECAST) -> None:
        """A load of the model ends like that, and the machine is cold and may be asked again."""
        assert self.fleet.registry.request_load("only", MODEL, cause, self.fleet.now)
        self.fleet.registry.load_model_status("only", LoadModelStatus(model_id=MODEL, status=status), self.fleet.now)
        self.fleet.clock.now += 31.0
        self.fleet.beat("only", free_for_load=40.0)

    def foreseen(self) -> int:
        return sum(one.foreseen for one in self.office.tick().snapshots)


async def test_after_three_failures_nothing_is_foreseen_until_the_next_hour(fleet: Fleet) -> None:
    machine = FailingMachine(fleet)
    for _ in range(3):
        assert machine.foreseen() == 1
        machine.answers("failed")
    assert machine.foreseen() == 0
    assert machine.office.tick().orders == ()
    machine.office.date += HOUR_SECONDS - 1
    assert machine.foreseen() == 0
    machine.office.date += 1
    assert machine.foreseen() == 1


async def test_a_success_forgives_failures_and_those_of_needed_loads_do_not_count(fleet: Fleet) -> None:
    machine = FailingMachine(fleet)
    for status in ("failed", "failed", "succeeded", "failed", "failed"):
        machine.answers(status)
    machine.answers("failed", LoadCause.WARM)
    assert machine.foreseen() == 1
    machine.answers("failed")
    assert machine.foreseen() == 0
