"""The scenarios that routing must do well in: thresholds, and the figures that were committed last.

A change that makes one of them worse fails here. One that is meant to writes the figures anew:
`python -m server.sim --write-baseline tests/unit/server/sim/baseline.json`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server.sim import Report, Run, engine, make_report, simulate
from server.sim.baseline import figures, read_baseline, steps_back
from server.sim.policies import with_settings
from server.sim.scenarios import SCENARIOS, build
from server.sim.statistics import percentile

COMMITTED = read_baseline(Path(__file__).with_name("baseline.json"))


def run(name: str, seed: int = 1, **settings: str) -> tuple[Run, Report]:
    """Run a scenario; with the seed of its committed figures it must not be worse than they are."""
    scenario = build(name, seed)
    done = simulate(scenario.setup, with_settings(scenario.policy, settings))
    report = make_report(done)
    before = COMMITTED.get(name)
    if before is not None and before.seed == seed:
        assert steps_back(before, figures(report)) == []
    return done, report


def test_every_scenario_can_be_built_and_is_within_its_size() -> None:
    for name in SCENARIOS:
        if name != "day":
            setup = build(name, 1).setup
            assert 400 <= len(setup.arrivals) <= 12_000, name


def test_steady_load_is_served() -> None:
    _, report = run("steady")
    assert report.served_share >= 0.99
    assert report.perfect_share >= 0.95
    assert report.fairness is not None
    assert report.fairness >= 0.98


def test_a_burst_is_ridden_out() -> None:
    _, report = run("burst")
    assert report.served_share >= 0.65
    assert report.perfect_share >= 0.53
    assert set(report.statuses) <= {"429"}


def test_a_herd_is_spread_evenly_over_equal_machines() -> None:
    done, report = run("herd")
    assert report.served_share == 1.0
    served = [provider.engine.served for provider in done.providers]
    assert max(served) - min(served) <= 2


def test_overload_is_turned_into_work_and_quick_refusals() -> None:
    done, report = run("overload")
    assert report.utilisation >= 0.95
    for waits in (report.queue_wait_seconds, report.queue_wait_in_vain_seconds):
        assert waits.highest is None or waits.highest <= 120.0 + 1e-6
    assert set(report.statuses) <= {"429"}
    slow = percentile(sorted(done.tally.decision_ns), 0.99)
    assert slow is not None
    assert slow < 50e6


def test_black_holes_are_found_and_avoided() -> None:
    done, report = run("black_holes")
    begin = done.setup.warm_up
    late = [job for job in done.tally.jobs if job.started_at - begin >= 120.0]
    errors = [job for job in late if not job.served and job.why != "left"]
    assert len(late) > 1_000
    assert len(errors) / len(late) < 0.01
    assert report.perfect_share >= 0.95


@pytest.mark.nightly
def test_one_hot_model_gets_machines_from_five_cold_ones() -> None:
    _, report = run("hot")
    assert report.served_share >= 0.98
    assert report.perfect_share >= 0.95


@pytest.mark.nightly
def test_the_loss_of_a_fifth_of_the_machines_costs_their_answers_alone() -> None:
    _, report = run("disconnect")
    assert report.served_share >= 0.97
    assert report.unfinished == 0


@pytest.mark.nightly
def test_mixed_machines_and_liars_are_used_according_to_what_they_do() -> None:
    _, report = run("chips")
    assert report.served_share >= 0.98
    assert report.perfect_share >= 0.95


def test_conversations_are_served_by_machines_that_remember_them() -> None:
    _, report = run("turns")
    assert report.served_share >= 0.99
    assert report.perfect_share >= 0.93
    assert report.prefix_hit_share is not None
    assert report.prefix_hit_share >= 0.28
    assert report.cache_precision is not None
    assert report.cache_precision >= 0.9


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 5))
def test_conversations_gain_by_routing_to_machines_that_remember_them(seed: int) -> None:
    blind, report = by_setting("turns", "cache_routing", "false", "true", seed=seed)
    assert blind.cache_routed == 0
    assert (report.prefix_hit_share or 0) >= 1.9 * (blind.prefix_hit_share or 0)
    assert report.perfect_share >= blind.perfect_share + 0.02
    assert (report.ttft_ms.p50 or 0) <= 0.75 * (blind.ttft_ms.p50 or 0)
    assert (report.ttft_ms.p99 or 0) <= 0.9 * (blind.ttft_ms.p99 or 0)


@pytest.mark.nightly
def test_machines_that_keep_four_conversations_are_no_worse_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PREFIXES_KEPT", 4)
    pairs = [by_setting("turns", "cache_routing", "false", "true", seed=seed) for seed in range(1, 5)]
    assert sum(told.good for _, told in pairs) >= sum(blind.good for blind, _ in pairs)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 5))
def test_the_thresholds_hold_for_other_seeds(seed: int) -> None:
    assert run("steady", seed)[1].perfect_share >= 0.95
    assert run("burst", seed)[1].served_share >= 0.65
    assert run("cutoff", seed)[1].perfect_share >= 0.93
    assert run("overload", seed)[1].utilisation >= 0.95


def by_setting(name: str, setting: str, *values: str, seed: int = 1) -> list[Report]:
    """The same scenario with each value of one setting."""
    scenario = build(name, seed)
    return [make_report(simulate(scenario.setup, with_settings(scenario.policy, {setting: value}))) for value in values]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["steady", "chips", "cutoff"])
def test_the_second_cost_model_serves_more_in_time_than_the_first(name: str) -> None:
    first, second = by_setting(name, "cost_model", "v1", "v2")
    assert second.good > first.good
    assert (second.ttft_ms.p99 or 0) < (first.ttft_ms.p99 or 0)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["burst", "overload"])
def test_where_the_queue_decides_the_second_cost_model_is_not_much_behind(name: str) -> None:
    first, second = by_setting(name, "cost_model", "v1", "v2")
    assert second.good >= 0.95 * first.good
    assert (second.ttft_ms.p99 or 0) < (first.ttft_ms.p99 or 0)
