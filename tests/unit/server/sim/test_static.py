"""Static mode: who could take each request, by size, and where the cliff is."""

from __future__ import annotations

from server.sim.fleet import equal_fleet
from server.sim.simulation import Policy
from server.sim.static import cliff, static_report
from server.sim.trace import Arrival, prompt_range
from tests.unit.server.sim.small_world import setup


def _asked(prompts: list[int], model: str = "m") -> list[Arrival]:
    return [Arrival(t_ms=number, model=model, prompt=prompt) for number, prompt in enumerate(prompts)]


def test_requests_do_not_use_up_capacity() -> None:
    report = static_report(setup(_asked([100] * 500), 1), Policy())
    assert report.counts["served"] == 500


def test_long_prompts_are_too_slow_from_the_cliff_on() -> None:
    # The deadline is 5 s + 1 ms a token; 250 tokens/s need 4 ms a token: the two meet at about 1660 tokens.
    prompts = prompt_range(100, 4_100, 400)
    report = static_report(setup(_asked(prompts), equal_fleet(3, models=("m",), decode=60.0, prefill=250.0)), Policy())
    assert 1_600 < report.cliff < 1_700
    assert report.counts["served"] + report.counts["ttft_too_slow"] == 400
    by_low = {bucket.low: bucket for bucket in report.buckets}
    assert by_low[0].accept_rate == 1.0
    assert by_low[2_000].ttft_reject_rate == 1.0
    assert 0 < by_low[1_000].accept_rate < 1
    assert by_low[4_000].count == 10
    assert sum(bucket.count for bucket in report.buckets) == 400


def test_a_model_that_nobody_offers_has_no_provider() -> None:
    report = static_report(setup(_asked([10], model="other"), 1), Policy())
    assert report.counts["no_provider"] == 1
    assert report.cliff == 0


def test_the_cliff_is_the_first_slow_prompt_after_a_served_one() -> None:
    assert cliff([(10, "served"), (30, "ttft_too_slow"), (20, "served"), (40, "ttft_too_slow")]) == 30
    assert cliff([(10, "ttft_too_slow"), (20, "served")]) == 0
    assert cliff([(10, "served"), (20, "machine_busy")]) == 0
    assert cliff([]) == 0
