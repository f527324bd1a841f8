"""Connections of simulated machines: trust, silence, return under a new socket, upgrades."""

from __future__ import annotations

import io

from server.sim.faults import MachineEvent, absences, checked_events
from server.sim.fleet import equal_fleet
from server.sim.perfect import Absence
from server.sim.simulation import Policy, World
from tests.unit.server.sim.small_world import arrivals, setup


def _log(events: list[MachineEvent], *, seconds: float = 200.0, machines: int = 2) -> list[tuple[float, list[str]]]:
    """Run light load and return the log: (seconds of the trace, words)."""
    out = io.StringIO()
    asked = arrivals(round(seconds), every_ms=1_000.0)
    World(setup(asked, equal_fleet(machines, models=("m",)), events=events), Policy(), out).run()
    lines = [line.split() for line in out.getvalue().splitlines()]
    return [(int(when) / 1e6 - 30.0, words) for when, *words in lines]


def _when(log: list[tuple[float, list[str]]], *words: str) -> list[float]:
    return [at for at, line in log if line[: len(words)] == list(words)]


NAMES = [one.id for one in equal_fleet(2, models=("m",))]


def test_a_machine_serves_only_after_its_challenge_and_its_evidence() -> None:
    world = World(setup(arrivals(1)), Policy())
    world.settle()
    assert {session.trust.level for session in world.registry.sessions()} == {"hardware"}
    assert all(session.trust.admitted for session in world.registry.sessions())
    delays = [value for provider in world.providers.values() for value in provider.routable_after]
    assert len(delays) == 3
    assert all(1.0 < value < 9.0 for value in delays)


def test_sleep_is_noticed_by_the_silence_and_the_machine_returns_under_a_new_session() -> None:
    name = NAMES[0]
    log = _log([MachineEvent(at=20.0, machine=name, what="sleep"), MachineEvent(at=120.0, machine=name, what="wake")])
    (gone,) = _when(log, "gone", f"{name}.1")
    assert 35.0 <= gone - 20.0 <= 60.0
    (back,) = _when(log, "connected", f"{name}.2")
    assert 120.0 < back < 124.0


def test_a_machine_that_returns_before_it_was_missed_replaces_its_old_session() -> None:
    name = NAMES[0]
    log = _log([MachineEvent(at=20.0, machine=name, what="sleep"), MachineEvent(at=30.0, machine=name, what="wake")])
    (back,) = _when(log, "connected", f"{name}.2")
    (gone,) = _when(log, "gone", f"{name}.1")
    assert back < gone < back + 1.0


def test_an_upgrade_drains_first_and_comes_back_with_the_new_version() -> None:
    name = NAMES[0]
    log = _log([MachineEvent(at=20.0, machine=name, what="upgrade", value=15.0, version="0.6.32")])
    assert _when(log, "gone", f"{name}.1", "True")
    (left,) = _when(log, "upgrading", name, "0.6.32")
    (back,) = _when(log, "connected", f"{name}.2", "0.6.32")
    assert back - left == 15.0
    assert not _when(log, "broken")
    assert _when(log, "loaded", name, "m")


def test_requests_sent_to_a_machine_that_sleeps_are_answered_elsewhere() -> None:
    name = NAMES[0]
    log = _log([MachineEvent(at=20.0, machine=name, what="sleep")], seconds=60.0)
    assert _when(log, "failed")
    assert len(_when(log, "done")) == 60 - len(_when(log, "broken"))


def test_machines_are_absent_while_they_sleep_stall_or_restart() -> None:
    events = checked_events(
        [
            MachineEvent(at=10.0, machine="a", what="sleep"),
            MachineEvent(at=60.0, machine="a", what="wake"),
            MachineEvent(at=75.0, machine="b", what="stall"),
            MachineEvent(at=0.0, machine="c", what="crash", value=25.0),
            MachineEvent(at=0.0, machine="d", what="speed", value=0.5),
        ],
        "abcd",
    )
    assert absences(events, 100.0) == [Absence("c", 0.0, 25.0), Absence("a", 10.0, 60.0), Absence("b", 75.0, 100.0)]
