"""Three incidents that the design must survive, each with a threshold and with the proof that the threshold can fail."""

from __future__ import annotations

from statistics import fmean

from server.sim import Report, Run, make_report, simulate
from server.sim.scenarios import build


def run(name: str, seed: int = 1) -> tuple[Run, Report]:
    scenario = build(name, seed)
    done = simulate(scenario.setup, scenario.policy)
    return done, make_report(done)


def test_a_cut_off_below_the_true_p90_and_stubborn_clients_do_not_collapse_goodput() -> None:
    done, report = run("cutoff")
    first_tries = [job.last_ttft_ms for job in done.tally.jobs if job.last_ttft_ms is not None]
    cut_offs = [done.policy.routing.first_content_deadline_ms(job.prompt) for job in done.tally.jobs]
    assert sorted(first_tries)[int(0.9 * len(first_tries))] > fmean(cut_offs)
    assert report.perfect_share >= 0.9
    assert report.eligible_share_least > 0.5


def test_a_fleet_that_upgrades_within_ten_minutes_stays_routable() -> None:
    done, report = run("upgrade")
    assert {provider.version for provider in done.providers} == {"0.6.32"}
    assert all(provider.connections == 2 for provider in done.providers)
    assert report.eligible_share_least >= 0.7
    assert report.served_share >= 0.99
    assert report.routable_after_seconds.highest is not None
    assert report.routable_after_seconds.highest < 30.0
    assert "no_provider" not in report.refusals
