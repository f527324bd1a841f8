"""Whole runs on small fleets: nothing is lost, nothing stays behind, and clients behave as they are said to."""

from __future__ import annotations

import pytest

from server.sim import make_report, simulate
from server.sim.clients import FICKLE, OBEDIENT, STUBBORN, Manners
from server.sim.faults import MachineEvent
from server.sim.fleet import equal_fleet
from server.sim.policies import with_settings
from server.sim.simulation import Policy, Run, World
from tests.unit.server.sim.small_world import arrivals, setup

NO_QUEUE = with_settings(Policy(), {"queue_before_shed": "false"})


def _report_of(run: Run) -> dict[str, object]:
    report = make_report(run)
    return {name: getattr(report, name) for name in report.__struct_fields__}


def test_light_load_is_served_whole_and_at_once() -> None:
    report = make_report(simulate(setup(arrivals(200, every_ms=300.0))))
    assert (report.jobs, report.served, report.good, report.unfinished) == (200, 200, 200, 0)
    assert report.calls == report.attempts == 200
    assert report.tokens == 200 * (100 + 50)
    assert not report.refusals
    assert report.ttft_ms.p99 is not None
    assert report.ttft_ms.p99 < 3_000


def test_every_job_ends_once_and_nothing_is_left_behind_whatever_happens() -> None:
    machines = equal_fleet(6, models=("m",))
    names = [one.id for one in machines]
    events = [
        MachineEvent(at=2.0, machine=names[0], what="stall"),
        MachineEvent(at=3.0, machine=names[1], what="crash", value=10.0),
        MachineEvent(at=4.0, machine=names[2], what="sleep"),
        MachineEvent(at=20.0, machine=names[2], what="wake"),
        MachineEvent(at=5.0, machine=names[3], what="reject"),
        MachineEvent(at=15.0, machine=names[3], what="ok"),
        MachineEvent(at=8.0, machine=names[4], what="upgrade", value=5.0, version="0.6.32"),
        MachineEvent(at=60.0, machine=names[0], what="go_on"),
    ]
    asked = arrivals(200, every_ms=200.0, out=80)
    manners = (OBEDIENT, STUBBORN, FICKLE)
    world = World(setup(asked, machines, events=events, manners=lambda job: manners[job % 3], tail=300.0), Policy())
    run = world.run()
    numbers = [job.number for job in run.tally.jobs]
    assert sorted(numbers) == list(range(200))
    assert all(not session.ledger.entries for session in world.registry.sessions())
    assert not world.registry.queued_models()
    assert all(not provider.engine.is_busy for provider in run.providers)
    assert all(slot.used == slot.queued == 0 for provider in run.providers for slot in provider.engine.slots.values())
    assert (
        sum(job.tokens for job in run.tally.jobs) <= sum(provider.engine.tokens for provider in run.providers) + 10_000
    )


def test_an_obedient_client_waits_as_told_and_a_stubborn_one_does_not() -> None:
    # One machine, and answers that keep all of its places busy for half a minute.
    asked = [*arrivals(8, every_ms=0.0, out=700, max_tokens=700), *arrivals(1, every_ms=0.0)]
    machines = equal_fleet(1, models=("m",), decode=60.0)

    def last(manners: Manners) -> int:
        jobs = simulate(setup(asked, machines, manners=manners), NO_QUEUE).tally.jobs
        return next(job.tries for job in jobs if job.number == 8)

    obedient, stubborn, fickle = last(OBEDIENT), last(STUBBORN), last(FICKLE)
    assert fickle == 1
    assert 1 < obedient <= 5
    assert stubborn > 10 * obedient


def test_a_client_without_patience_leaves_and_its_place_is_free() -> None:
    asked = arrivals(1, prompt=5_000, out=50)
    machines = equal_fleet(1, models=("m",), prefill=100.0)
    policy = with_settings(Policy(), {"first_content_base": "100"})
    run = simulate(setup(asked, machines, manners=Manners(patience=3.0)), policy)
    (job,) = run.tally.jobs
    assert (job.why, job.served) == ("left", False)
    assert not run.providers[0].engine.is_busy


def test_requests_wait_in_the_queue_and_are_served_from_it() -> None:
    asked = arrivals(14, every_ms=1.0, out=100)
    report = make_report(simulate(setup(asked, equal_fleet(1, models=("m",), decode=90.0))))
    assert report.served == 14
    assert report.queue_wait_seconds.count >= 2
    assert report.queue_wait_seconds.highest is not None
    assert report.queue_wait_seconds.highest < 30


def test_the_waits_of_those_who_are_not_served_end_at_the_limit() -> None:
    policy = with_settings(Policy(), {"queue_max_wait": "5"})
    asked = arrivals(12, every_ms=1.0, out=900, max_tokens=900)
    run = simulate(setup(asked, equal_fleet(1, models=("m",), decode=20.0), manners=FICKLE), policy)
    report = make_report(run)
    assert report.queue_wait_in_vain_seconds.count > 0
    assert report.queue_wait_in_vain_seconds.highest == pytest.approx(5.0)
    assert report.refusals["queue_timeout"] == report.queue_wait_in_vain_seconds.count


def test_a_failed_attempt_is_tried_elsewhere_and_the_client_never_hears_of_it() -> None:
    machines = equal_fleet(4, models=("m",))
    events = [MachineEvent(at=0.0, machine=machines[0].id, what="error")]
    report = make_report(simulate(setup(arrivals(100, every_ms=300.0), machines, events=events)))
    assert report.served == report.calls == 100
    assert 0 < report.attempts_failed["fault"] <= 10
    assert report.attempts == 100 + report.attempts_failed["fault"]


def test_a_broken_answer_is_told_to_the_client_and_not_repeated() -> None:
    machines = equal_fleet(1, models=("m",))
    events = [MachineEvent(at=2.0, machine=machines[0].id, what="crash", value=5.0)]
    report = make_report(simulate(setup(arrivals(1, out=250), machines, events=events)))
    assert report.jobs_lost == {"broken": 1}


def test_two_runs_agree_on_everything_that_is_reported() -> None:
    asked = setup(arrivals(150, every_ms=30.0), 2)
    assert _report_of(simulate(asked)) == _report_of(simulate(asked))
