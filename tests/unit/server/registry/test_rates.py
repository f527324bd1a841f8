"""Speed estimates (acceptance 3-h, 5-i, 5-j, 12-a, 12-d, 12-e, 12-i)."""

from __future__ import annotations

import pytest

from server.registry import RoutingPolicy
from server.registry.rates import (
    FleetRates,
    ReleaseRate,
    SampleWindow,
    decode_tps,
    ewma,
    prefill_tps,
    projected_tps,
    registered_prefill_tps,
    solo_rate,
    static_tps,
    ttft_ms,
)
from server.registry.state import Hardware, SlotState
from tests.unit.server.registry.fleet import session, slot

K = 0.39


@pytest.mark.parametrize(
    ("observed", "static", "running", "expected"),
    [(0, 90, 3, 35.156), (30, 90, 3, 25.430), (0, 23, 0, 16.547), (0, 23, 1, 12.921)],
)
def test_projected_rate(observed: float, static: float, running: int, expected: float) -> None:
    assert projected_tps(slot(running=running, tps_decode=observed), static, K) == pytest.approx(expected, abs=5e-4)


def test_ttft_of_idle_and_cold_slots() -> None:
    def estimate(state: SlotState) -> float | None:
        return ttft_ms(slot(state), prompt_tokens=1_000, ledger_count=0, prefill=1_080, tps=90, has_capacity=True)

    assert estimate(SlotState.RESIDENT) == pytest.approx(937.037, abs=5e-4)
    assert estimate(SlotState.ABSENT) == pytest.approx(30_937.037, abs=5e-4)


def test_ttft_counts_prompts_ahead() -> None:
    busy = slot(running=3, waiting=1)
    value = ttft_ms(busy, prompt_tokens=2_000, ledger_count=6, prefill=1_080, tps=41.4747, has_capacity=True)
    assert value == pytest.approx(7_431.519, abs=1e-3)


def test_ttft_is_unknown_without_capacity_report() -> None:
    assert ttft_ms(slot(), prompt_tokens=1, ledger_count=0, prefill=1, tps=1, has_capacity=False) is None


def test_static_rate_falls_back_to_bandwidth() -> None:
    assert static_tps(session(decode_tps=90).caps) == 90
    assert static_tps(session(decode_tps=0, bandwidth=400).caps) == 20
    assert static_tps(session(decode_tps=0).caps) == 1


def test_decode_rate_order_of_sources() -> None:
    assert decode_tps(slot(tps_decode=55), 90, 60, K) == 55
    assert decode_tps(slot(), 90, 60, K) == 60
    assert decode_tps(slot(running=3), 90, 0, K) == pytest.approx(41.4747, abs=1e-4)
    assert decode_tps(slot(running=3), 0.5, 0, K) == 1


def test_prefill_rate_order_of_sources() -> None:
    policy = RoutingPolicy()
    assert registered_prefill_tps(session(prefill_tps=700).caps, 90, policy) == 700
    assert registered_prefill_tps(session().caps, 90, policy) == 1_080
    assert registered_prefill_tps(session().caps, 499, policy) == 5_000
    assert prefill_tps(slot(tps_prefill=333), 1_080) == 333
    assert prefill_tps(slot(), 1_080) == 1_080


def test_solo_normalisation() -> None:
    assert solo_rate(30, 3, K) == pytest.approx(65.1)


@pytest.mark.parametrize(
    ("alpha", "samples", "expected"),
    [(0.3, (60, 30, 30, 90), (60, 51, 44.7, 58.29)), (0.2, (1200, 800, 800, 3000), (1200, 1120, 1056, 1444.8))],
)
def test_ewma(alpha: float, samples: tuple[float, ...], expected: tuple[float, ...]) -> None:
    value: float | None = None
    seen = []
    for sample in samples:
        value = ewma(value, sample, alpha)
        seen.append(value)
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize(
    ("samples", "expected"), [((40, 50, 60), 50), ((40, 50, 60, 100), 55), (range(1, 52), 26.5), ((), 0)]
)
def test_sample_window_median(samples: tuple[float, ...], expected: float) -> None:
    window = SampleWindow()
    for sample in samples:
        window.add(sample)
    assert window.median() == expected


def test_fleet_samples_ignore_an_unchanged_value() -> None:
    rates = FleetRates()
    one = session(slot(tps_decode=50, running=2))
    rates.feed(one, {})
    rates.feed(one, one.slots)
    one.slots = {"m": slot(tps_decode=70, running=2)}
    rates.feed(one, {"m": slot(tps_decode=50)})
    assert rates.decode_median("m", "M3") == 60
    assert rates.decode_median("m", "M4") == 0


def test_solo_rate_sources_in_order() -> None:
    policy = RoutingPolicy(solo_seeds={"m": 33.0})
    rates = FleetRates()
    one = session(decode_tps=90)
    assert rates.solo(one, "m", policy) == 33
    assert rates.solo(one, "other", policy) == 90
    guess = session(decode_tps=0, bandwidth=400)
    assert rates.solo(guess, "other", policy) == 0
    assert rates.solo(guess, "other", RoutingPolicy(dedicated_models=("oth",))) == 20
    for value in (57.0, 58.0, 57.5, 57.2, 57.8):
        one.slots = {"m": slot(running=1, tps_decode=value)}
        rates.feed(one, {})
    # 57.5 tokens/s beside another request: 80 alone.
    assert rates.solo(one, "m", policy) == pytest.approx(80, abs=0.5)
    peer = session(session_id="peer", decode_tps=90)
    assert rates.solo(peer, "m", policy) == pytest.approx(80, abs=0.5)
    stranger = session(session_id="stranger", decode_tps=20, caps={"hardware": Hardware(chip_family="M1")})
    assert rates.solo(stranger, "m", RoutingPolicy()) == 20
    assert rates.solo(session(session_id="x", decode_tps=20), "m", RoutingPolicy()) == 30


def test_load_does_not_lower_the_solo_rate() -> None:
    rates, policy = FleetRates(), RoutingPolicy()
    one = session(decode_tps=90)
    for number in range(30):
        one.slots = {"m": slot(running=6, tps_decode=90 / (1 + 0.39 * 6) + number % 2)}
        rates.feed(one, {})
    assert rates.solo(one, "m", policy) == pytest.approx(90, rel=0.03)


def test_release_rate_needs_five_in_a_minute() -> None:
    rate = ReleaseRate()
    for second in range(4):
        rate.note(float(second))
    assert rate.rate(4.0) is None
    rate.note(4.0)
    assert rate.rate(4.5) == pytest.approx(1.0)
    assert rate.rate(90.0) is None


def test_release_rate_follows_bins_of_one_second() -> None:
    rate = ReleaseRate()
    for second in range(3):
        for _ in range(2):
            rate.note(second + 0.5)
    assert rate.rate(3.0) == pytest.approx(2.0)
    assert rate.rate(4.0) == pytest.approx(1.6)
