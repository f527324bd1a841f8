"""Prices term by term, with the grid of rates taken out (acceptance 5-a to 5-f, 5-k to 5-o)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.registry import CostTerms, RoutingPolicy, price
from server.registry.cost import health_us
from server.registry.ledger import LedgerSums
from server.registry.price import price_v1, price_v2
from server.registry.speed import Speed
from server.registry.state import Live, Slot, SlotState
from tests.unit.server.registry.fleet import slot

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def exact_rates() -> Iterator[None]:
    """Routing rounds a price per token by up to 5 %; without that the worked examples come out exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(price, "per_token_us", lambda tps: 1_000_000 / tps)
        patch.setattr(price, "on_grid", lambda microseconds: microseconds)
        yield


def live(pressure: float = 0, cpu: float = 0, gpu: float = 0, thermal: str = "nominal") -> Live:
    return Live(last_heartbeat=0, memory_pressure=pressure, cpu_usage=cpu, gpu_active_gb=gpu, thermal=thermal)


def cost(
    one: Slot,
    *,
    load: Live | None = None,
    memory: float = 0,
    count: int = 0,
    tokens: int = 0,
    pending: int = 0,
    prompt: int = 1_000,
    output: int = 256,
    static: float = 90,
    median: float = 0,
    k: float = 0.39,
    rate: float = 0,
) -> CostTerms:
    machine = load if load is not None else live()
    policy = RoutingPolicy(load_factor=k)
    speed = Speed(static, static * 12, median)
    found = price_v1(one, LedgerSums(count, tokens), pending, speed, policy, health_us(machine, memory), rate)
    return found.terms(prompt, output)


def test_idle_resident() -> None:
    terms = cost(slot(budget=(100_000, 0, 0)), load=live(0.2, 0.1, 16), memory=64)
    assert terms.this_request == pytest.approx(3_770.370, abs=1e-3)
    assert terms.health == pytest.approx(2_200)
    assert terms.total == pytest.approx(5_970.370, abs=1e-3)


@pytest.mark.parametrize(("k", "total"), [(0.39, 365_728.926), (0.27, 308_704.926)])
def test_busy(k: float, total: float) -> None:
    busy = slot(running=3, waiting=1, budget=(100_000, 12_000, 2_000))
    terms = cost(busy, load=live(0.5, 0.3, 40, "fair"), memory=64, count=2, pending=2, k=k)
    assert (terms.queue, terms.pending, terms.health) == (12_000, 1_500, pytest.approx(7_575))
    assert terms.total == pytest.approx(total, abs=1e-3)


def test_unknown_slot() -> None:
    terms = cost(slot(SlotState.ABSENT), load=live(0.1, 0.05, 8), memory=128)
    assert terms.state == 30_000
    assert terms.total == pytest.approx(34_557.870, abs=1e-3)


def test_idle_shutdown() -> None:
    one = slot(SlotState.EVICTED)
    terms = cost(one, load=live(0.1, 0.05, 2), memory=32, prompt=100, output=64, static=20)
    assert terms.this_request == pytest.approx(3_616.667, abs=1e-3)
    assert terms.total == pytest.approx(24_404.167, abs=1e-3)


@pytest.mark.parametrize(("k", "total"), [(0.39, 126_211.667), (0.27, 110_851.667)])
def test_slot_without_budget(k: float, total: float) -> None:
    one = slot(running=2, waiting=1, potential=1_024)
    terms = cost(one, count=3, tokens=2_304, pending=3, prompt=500, static=40, k=k)
    assert terms.total == pytest.approx(total, abs=1e-3)


def test_observed_rate_wins() -> None:
    one = slot(running=3, tps_decode=55, budget=(100_000, 3_000, 0))
    assert cost(one, median=60).total == pytest.approx(69_125.926, abs=1e-3)


def test_serious_heat_and_capacity_refusals_cost() -> None:
    terms = cost(slot(), load=live(thermal="serious"), rate=0.375)
    assert (terms.health, terms.capacity_rate) == (8_000, 5_625)


@given(
    running=st.integers(0, 24),
    waiting=st.integers(0, 50),
    used=st.integers(0, 10**6),
    pending=st.integers(0, 40),
    pressure=st.floats(0, 1),
    state=st.sampled_from([SlotState.RESIDENT, SlotState.EVICTED, SlotState.ABSENT]),
)
def test_terms_add_up(running: int, waiting: int, used: int, pending: int, pressure: float, state: SlotState) -> None:
    one = slot(state, running=running, waiting=waiting, budget=(10**6, used, 0))
    terms = cost(one, load=live(pressure), memory=64, pending=pending)
    parts = (getattr(terms, name) for name in CostTerms.__struct_fields__)
    assert terms.total == pytest.approx(sum(parts), abs=1e-6)


def expected_delivery(
    *,
    solo: float = 90,
    prefill: float = 1_080,
    running: int = 0,
    ahead: int = 0,
    prompt: int = 1_000,
    load_seconds: float | None = None,
    health: int = 0,
    rate: float = 0,
) -> CostTerms:
    state = SlotState.RESIDENT if load_seconds is None else SlotState.ABSENT
    speed = Speed(solo, prefill, load_seconds=load_seconds)
    sums = LedgerSums(min(running, 1), ahead, unstarted=ahead)
    found = price_v2(slot(state, running=running), sums, speed, RoutingPolicy(), health, rate)
    return found.terms(prompt, 256)


@pytest.mark.parametrize(
    ("changes", "total"),
    [
        ({"running": 3, "ahead": 500}, 11_780.444),
        ({"running": 4, "ahead": 500}, 13_453.111),
        ({"solo": 40.0, "prefill": 480.0}, 13_132.167),
        ({"running": 3, "ahead": 500, "prompt": 200}, 10_298.963),
        ({"load_seconds": 12.0}, 29_836.519),
    ],
    ids=["busy-fast", "busier-fast", "idle-slow", "short", "cold"],
)
def test_expected_delivery(changes: dict[str, Any], total: float) -> None:
    assert expected_delivery(**changes).total == pytest.approx(total, abs=2e-3)


def test_expected_delivery_counts_what_was_reserved_since_the_report() -> None:
    one, speed = slot(running=1), Speed(90, 1_080)
    reported = price_v2(slot(running=3), LedgerSums(), speed, RoutingPolicy(), 0, 0)
    reserved = price_v2(one, LedgerSums(3), speed, RoutingPolicy(), 0, 0)
    assert reserved.terms(1_000, 256) == reported.terms(1_000, 256)


def test_expected_delivery_adds_health_and_refusals() -> None:
    worse = expected_delivery(health=2_200_000, rate=0.5)
    assert worse.total - expected_delivery().total == pytest.approx(2_200 + 7_500)
