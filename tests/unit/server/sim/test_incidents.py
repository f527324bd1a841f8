"""Three incidents that the design must survive, each with a threshold and with proof that the threshold can fail."""

from __future__ import annotations

import io
from collections import Counter
from statistics import fmean

import pytest
from msgspec import structs

from server.registry.first_content import FirstContentTimes
from server.sim import Report, Run, Setup, make_report, simulate
from server.sim.clients import Manners
from server.sim.scenarios import build

BACK_SECONDS = 60.0
"""How long after its return a machine is watched."""


def run(name: str, seed: int = 1) -> tuple[Run, Report]:
    scenario = build(name, seed)
    done = simulate(scenario.setup, scenario.policy)
    return done, make_report(done)


def test_a_cut_off_below_the_true_p90_and_stubborn_clients_do_not_collapse_goodput() -> None:
    done, report = run("cutoff")
    taken = sorted(job.last_ttft_ms for job in done.tally.jobs if job.last_ttft_ms is not None)
    cut_offs = [done.policy.routing.first_content_deadline_ms(job.prompt) for job in done.tally.jobs]
    assert taken[int(0.9 * len(taken))] > fmean(cut_offs)
    assert report.perfect_share >= 0.95
    assert report.served_share >= 0.99
    assert report.eligible_share_least >= 0.7


def test_a_fixed_cut_off_that_blames_machines_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scenario with what a router without memory of true times does: this is what the threshold keeps out."""
    monkeypatch.setattr(FirstContentTimes, "extended", lambda _self, _model, allowance: allowance)
    monkeypatch.setattr(FirstContentTimes, "missed", lambda *_args: True)
    scenario = build("cutoff", 1)
    stubborn = Manners(resend="at_once", tries=100_000, patience=15.0)
    setup = structs.replace(scenario.setup, arrivals=scenario.setup.arrivals[:500], manners=lambda _job: stubborn)
    report = make_report(simulate(setup, scenario.policy))
    assert report.perfect_share < 0.7
    assert report.eligible_share_least < 0.5


def test_a_fleet_that_upgrades_within_ten_minutes_stays_routable() -> None:
    done, report = run("upgrade")
    assert {provider.version for provider in done.providers} == {"0.6.32"}
    assert all(provider.connections == 2 for provider in done.providers)
    assert report.eligible_share_least >= 0.7
    assert report.served_share >= 0.98
    assert report.routable_after_seconds.highest is not None
    assert report.routable_after_seconds.highest < 30.0
    assert "no_provider" not in report.refusals


def test_what_was_learned_of_a_machine_follows_it_through_sleep_to_its_new_socket() -> None:
    scenario = build("sleep", 1)
    with_memory, report = first_minute_back(scenario.setup)
    as_strangers, _ = first_minute_back(structs.replace(scenario.setup, known=False))
    assert report.served_share >= 0.97
    # The faulty and the slow ones are not tried out anew, and the good ones are not made to pay for having slept.
    assert with_memory["faulty"] <= 0.6 * as_strangers["faulty"]
    assert with_memory["slow"] <= 0.6 * as_strangers["slow"]
    assert with_memory["good"] >= 0.9 * as_strangers["good"]


def first_minute_back(setup: Setup) -> tuple[Counter[str], Report]:
    """Count the attempts at returned machines in their first minute, by kind of machine."""
    out = io.StringIO()
    scenario = build("sleep", 1)
    done = simulate(setup, scenario.policy, log=out)
    faulty = {event.machine for event in setup.events if event.what == "error"}
    slow = {one.id for one in setup.machines if one.honesty < 1}
    back: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for line in out.getvalue().splitlines():
        when, what, *words = line.split()
        at = int(when) / 1e6
        if what == "connected" and not words[0].endswith(".1"):
            back[words[0]] = at
        elif what in ("attempt", "backup") and at < back.get(words[1], -1e9) + BACK_SECONDS:
            machine = words[1].partition(".")[0]
            counts["faulty" if machine in faulty else "slow" if machine in slow else "good"] += 1
    return counts, make_report(done)
