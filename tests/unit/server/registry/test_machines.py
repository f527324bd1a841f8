"""What is remembered of a machine over its connections."""

from __future__ import annotations

from typing import Literal

import pytest

from protocol.messages.from_provider import Hardware
from server.registry import RoutingPolicy
from server.registry.machines import MACHINES_MAX, LearntSpeed, MachineRecord, Machines
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot


def test_speed_counters_and_reputation_follow_the_machine_to_its_next_connection() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False), lasting_clock=lambda: 5_000.0)
    fleet.connect("old", stable_id="machine", message=register_message(decode_tps=90.0))
    fleet.beat("old", wire_slot(observed_decode_tps=33.0, active_token_budget_max=9_000), stats=(7, 700))
    fleet.registry.machines.succeeded("machine")
    fleet.registry.disconnect("old", fleet.now, graceful=False)
    fleet.connect("new", stable_id="machine", message=register_message(decode_tps=90.0))
    fleet.beat("new", wire_slot(active_token_budget_max=9_000), stats=(2, 200))
    found = fleet.registry.choose_and_reserve(request(), fleet.now)
    assert found.winner is not None
    assert found.winner.tps == 33.0
    fleet.registry.machines.observe(found.winner.session)
    record = fleet.registry.machines.get("machine")
    assert record is not None
    assert record.totals == {"requests_served": 9, "tokens_generated": 900}
    assert record.jobs_ok == 1
    assert record.score > 0.5


def test_another_machine_of_the_same_kind_learns_nothing_from_it() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False))
    fleet.registry.machines.restore([MachineRecord(stable_id="known", speeds={"m": LearntSpeed(20.0)})])
    for name in ("known", "other"):
        fleet.connect(name, stable_id=name)
        fleet.beat(name, wire_slot(active_token_budget_max=9_000))
    speeds = {one.session_id: one.entries["m"].tps for one in fleet.registry.sessions()}
    assert speeds == {"known": 20.0, "other": 90.0}


@pytest.mark.parametrize("cost_model", ["v1", "v2"])
def test_a_machine_that_returns_is_priced_at_what_one_stream_alone_got(cost_model: Literal["v1", "v2"]) -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False, cost_model=cost_model))
    fleet.connect("old", stable_id="machine", message=register_message(decode_tps=90.0))
    fleet.beat("old", wire_slot(state="running", num_running=2, observed_decode_tps=10.0))
    fleet.registry.disconnect("old", fleet.now, graceful=False)
    record = fleet.registry.machines.get("machine")
    assert record is not None
    assert record.speeds["m"].decode == pytest.approx(17.8)
    # A stranger of another kind, of whose rates nothing is known, says that it is as fast as that.
    for name, family, decode in (("machine", "M3", 90.0), ("stranger", "M4", 17.8)):
        hardware = Hardware(chip_family=family, chip_tier="Max", memory_gb=64)
        message = register_message(hardware=hardware, decode_tps=decode, prefill_tps=500.0)
        fleet.connect(name, stable_id=name, message=message)
        fleet.beat(name, wire_slot(active_token_budget_max=9_000))
    known, stranger = (fleet.registry.session(name) for name in ("machine", "stranger"))
    assert known is not None
    assert stranger is not None
    assert known.entries["m"].cost == stranger.entries["m"].cost
    assert known.entries["m"].output == stranger.entries["m"].output


def test_observing_twice_counts_once() -> None:
    fleet = Fleet(lasting_clock=lambda: 1.0)
    session = fleet.warm("a", stable_id="machine")
    fleet.clock.now += 5
    fleet.beat("a", wire_slot(), stats=(3, 30))
    machines = fleet.registry.machines
    machines.observe(session)
    machines.observe(session)
    record = machines.get("machine")
    assert record is not None
    assert record.totals == {"requests_served": 3, "tokens_generated": 30}
    assert record.counts.uptime_seconds == 5.0


def test_security_checks_count_for_machines_that_proved_who_they_are() -> None:
    fleet = Fleet(lasting_clock=lambda: 1.0)
    fleet.connect("a", stable_id="machine", trust=trusted(None, admitted=False, verified_at=None))
    machines = fleet.registry.machines
    fleet.registry.set_trust("a", trusted(None, admitted=False, verified_at=None, untrusted="hard"), fleet.now)
    assert machines.get("machine") is None
    fleet.registry.set_trust("a", trusted(1_000.0), fleet.now)
    fleet.registry.set_trust("a", trusted(1_000.0), fleet.now)
    fleet.registry.set_trust("a", trusted(1_300.0), fleet.now)
    fleet.registry.set_trust("a", trusted(1_300.0, untrusted="hard"), fleet.now)
    record = machines.get("machine")
    assert record is not None
    assert (record.checks_passed, record.checks_failed) == (2, 1)


def test_a_connection_without_identity_is_not_remembered() -> None:
    fleet = Fleet()
    fleet.warm("a", stable_id="a")
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    assert len(fleet.registry.machines) == 0


def test_first_content_counts_without_the_time_of_the_own_prompt() -> None:
    fleet = Fleet(lasting_clock=lambda: 1.0)
    fleet.warm("a", stable_id="machine", message=register_message(prefill_tps=1_000.0))
    reservation = fleet.registry.choose_and_reserve(request(prompt_tokens=500), fleet.now).reservation
    assert reservation is not None
    reservation.mark_streaming(fleet.now + 2.0)
    record = fleet.registry.machines.get("machine")
    assert record is not None
    assert round(record.counts.latency_ms) == 1_500


def test_records_are_bounded_and_changes_are_handed_out_once() -> None:
    machines = Machines(lambda: 1.0)
    for number in range(MACHINES_MAX + 5):
        machines.succeeded(f"m{number}")
    assert len(machines) == MACHINES_MAX
    assert machines.get("m0") is None
    batch = machines.take_changed(100)
    assert len(batch) == 100
    machines.put_back(batch[:1])
    rest = machines.take_changed(MACHINES_MAX)
    assert len(rest) == MACHINES_MAX - 99
    assert not {one.stable_id for one in rest} & {one.stable_id for one in batch[1:]}
    assert machines.take_changed(1) == []
    machines.restore([MachineRecord(stable_id="late")])
    assert machines.get("late") is None
