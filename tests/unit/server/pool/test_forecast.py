"""Machines are made ready for the hour of the week, with whatever room there is, and with no other model's."""

from __future__ import annotations

import pytest

from protocol.messages.from_provider import ModelEntry
from server.pool import PoolPolicy, PoolRound, WarmPool
from server.registry import LoadCause
from server.registry.demand_profile import HOUR_SECONDS
from tests.unit.server.pool.test_warm_pool import MODEL, OTHER, cold, queue, suffer, warm
from tests.unit.server.registry.fleet import Fleet, register_message, wire_slot

WEEK = 168 * HOUR_SECONDS
NINE = 33 * HOUR_SECONDS
TINY = 1.0
"""Seconds; a round that much before nine of the second week looks ahead into that hour."""


class Office:
    """A controller with a calendar: it learnt last week what each model needs at nine."""

    def __init__(self, fleet: Fleet, needs: dict[str, int], **policy: object) -> None:
        self.fleet = fleet
        self.date = WEEK + NINE - TINY
        self.pool = WarmPool(PoolPolicy(forecast=True, **policy), fleet.registry, lambda: self.date)  # type: ignore[arg-type]
        for model, machines in needs.items():
            for minute in range(60):
                fleet.registry.demand.profiles.note(model, machines, NINE + 60 * minute, 60.0)

    def tick(self, seconds: float = 0.0) -> PoolRound:
        self.fleet.clock.now += seconds
        self.date += seconds
        return self.pool.tick(self.fleet.now)


def names(done: PoolRound) -> list[tuple[str, str]]:
    return [(order.model, order.session.session_id) for order in done.orders]


def test_machines_are_loaded_before_the_hour_in_which_they_were_needed(fleet: Fleet) -> None:
    for name in ("a", "b", "c"):
        cold(fleet, name)
    office = Office(fleet, {MODEL: 2})
    office.date = WEEK + NINE - 121.0
    assert office.tick().orders == ()
    done = office.tick(2.0)
    assert names(done) == [(MODEL, "a"), (MODEL, "b")]
    assert {order.cause for order in done.orders} == {LoadCause.FORECAST}
    (snapshot,) = done.snapshots
    assert (snapshot.foreseen, snapshot.wanted, snapshot.target, snapshot.loads) == (2, 0, 2, 2)


def test_it_looks_ahead_twice_as_long_as_loads_of_the_model_take(fleet: Fleet) -> None:
    cold(fleet, "a")
    fleet.registry.load_durations.note(MODEL, "M3|Max", 200.0)
    office = Office(fleet, {MODEL: 1})
    office.date = WEEK + NINE - 401.0
    assert office.tick().orders == ()
    assert names(office.tick(1.0)) == [(MODEL, "a")]


def test_what_is_warm_or_loading_counts(fleet: Fleet) -> None:
    warm(fleet, "w")
    for name in ("a", "b", "c"):
        cold(fleet, name)
    office = Office(fleet, {MODEL: 3})
    fleet.registry.request_load("a", MODEL, LoadCause.FORECAST, fleet.now)
    done = office.tick()
    assert names(done) == [(MODEL, "b")]
    assert (done.snapshots[0].target, done.snapshots[0].pending) == (3, 1)


@pytest.mark.parametrize("policy", [{"observe_only": True}, {"max_loads": 0}, {"max_pending": 0}])
def test_observing_foresees_and_orders_nothing(fleet: Fleet, policy: dict[str, object]) -> None:
    cold(fleet, "a")
    done = Office(fleet, {MODEL: 1}, **policy).tick()
    assert done.orders == ()
    assert (done.snapshots[0].foreseen, done.snapshots[0].target) == (1, 1)


def test_without_the_setting_nothing_is_learnt_or_foreseen(fleet: Fleet) -> None:
    cold(fleet, "a")
    office = Office(fleet, {MODEL: 1})
    office.pool = WarmPool(PoolPolicy(forecast=False), fleet.registry, lambda: office.date)
    profiles = fleet.registry.demand.profiles
    profiles.take_changed(10)
    queue(fleet, 1, OTHER)
    for _ in range(2):
        assert all(one.foreseen == 0 for one in office.tick(10.0).snapshots)
    assert profiles.models() == (MODEL,)
    assert profiles.take_changed(10) == []


def test_the_limits_of_a_round_hold_for_what_is_foreseen(fleet: Fleet) -> None:
    for number in range(9):
        cold(fleet, f"c{number}")
    office = Office(fleet, {MODEL: 8}, max_pending=6)
    assert len(office.tick().orders) == 4
    for order in office.tick().orders:
        fleet.registry.request_load(order.session.session_id, MODEL, order.cause, fleet.now)
    assert len(office.tick().orders) == 2


def test_no_other_model_makes_room_for_what_is_foreseen(fleet: Fleet) -> None:
    small = {"memory_gb": 16.0, "free_for_load": 12.0}
    cold(fleet, "holder")
    fleet.beat("holder", wire_slot(OTHER), **small)
    office = Office(fleet, {MODEL: 1})
    done = office.tick()
    assert (done.orders, done.snapshots[0].eligible_cold) == ((), 1)
    suffer(fleet)
    assert names(office.tick()) == [(MODEL, "holder")]


def test_a_need_that_is_only_held_on_to_makes_no_room_either(fleet: Fleet) -> None:
    small = {"memory_gb": 16.0, "free_for_load": 12.0}
    cold(fleet, "holder")
    fleet.beat("holder", wire_slot(OTHER), **small)
    office = Office(fleet, {MODEL: 1})
    suffer(fleet)
    assert office.tick().snapshots[0].target == 1
    fleet.clock.now += 61.0
    calm = office.tick()
    assert (calm.snapshots[0].wanted, calm.snapshots[0].target) == (0, 1)
    assert calm.orders == ()


def test_a_machine_with_three_models_in_memory_is_full(fleet: Fleet) -> None:
    more = ("x", "y", "z")
    fleet.connect("full", message=register_message(*(ModelEntry(id=name) for name in (MODEL, *more))))
    cold(fleet, "empty", free_for_load=20.0)
    fleet.beat("full", *(wire_slot(name) for name in more), free_for_load=40.0)
    assert names(Office(fleet, {MODEL: 2}).tick()) == [(MODEL, "empty")]


def test_what_is_needed_now_goes_before_what_is_foreseen(fleet: Fleet) -> None:
    cold(fleet, "only")
    office = Office(fleet, {MODEL: 8})
    queue(fleet, 1, OTHER)
    assert names(office.tick()) == [(OTHER, "only")]


def test_present_needs_are_learnt_by_the_time_they_last(fleet: Fleet) -> None:
    warm(fleet, "w", state="running", num_running=2, max_concurrency=2)
    warm(fleet, "v", state="running", num_running=1, max_concurrency=2)
    office = Office(fleet, {})
    fleet.registry.demand.asked(MODEL, fleet.now)
    for _ in range(7):
        office.tick(10.0)
    (profile,) = fleet.registry.demand.profiles.take_changed(10)
    hour = profile.hours[33]
    assert hour.mean == 3.0  # two for three requests with two places each, and one for a burst
    assert hour.weight == pytest.approx(60 / HOUR_SECONDS)


def test_a_pause_of_the_controller_was_not_watched(fleet: Fleet) -> None:
    warm(fleet, "w", state="running", num_running=1)
    office = Office(fleet, {})
    office.tick()
    fleet.registry.demand.asked(MODEL, fleet.now)
    office.tick(500.0)
    (profile,) = fleet.registry.demand.profiles.take_changed(10)
    assert sum(hour.weight for hour in profile.hours) == pytest.approx(60 / HOUR_SECONDS)
