"""Room on a provider (acceptance 4)."""

from __future__ import annotations

import pytest

from server.registry import CatalogEntry, Reason, Reservation, RoutingPolicy
from server.registry.admission import (
    admit,
    budget_room,
    cold_budget_tokens,
    fits_hardware,
    memory_room,
    pool_room,
    provider_cap,
    quality_capped,
    quality_concurrency,
    unaccounted_tokens,
)
from server.registry.catalog import Catalog
from server.registry.state import Budget, ModelAd, Session, Slot, SlotState
from tests.unit.server.registry.fleet import session, slot

AD = ModelAd(id="m")
OPEN = RoutingPolicy(quality_cap=False)


def reserve(one: Session, tokens: int, *, model: str = "m", reflected: bool = False, name: str = "r") -> Reservation:
    held = Reservation(
        request_id=name,
        logical_id=name,
        attempt=1,
        session_id="s",
        model=model,
        prompt_tokens=tokens,
        max_tokens=0,
        kv_rate=0,
        reserved_at=0,
        cold=False,
        releaser=lambda *_: None,
    )
    held.reflected = reflected
    one.ledger.add(held)
    return held


def verdict(one: Session, need: int, *, size_gb: float = 0, min_ram: float = 0) -> Reason | None:
    catalog = Catalog([CatalogEntry(id="m", size_gb=size_gb, min_ram_gb=min_ram)])
    return admit(one, AD, one.slot("m"), need, catalog=catalog, solo=0.0, policy=OPEN)


@pytest.mark.parametrize(("need", "reason"), [(672, None), (673, Reason.FREE_MEMORY)])
def test_token_budget_edge(need: int, reason: Reason | None) -> None:
    assert verdict(session(slot(budget=(32_768, 28_000, 4_096), potential=12_000)), need) is reason


def test_unreported_reservations_are_added_by_totals_when_reports_are_not_numbered() -> None:
    one = session(slot(budget=(32_768, 10_000, 0), potential=8_000))
    reserve(one, 16_000)
    assert unaccounted_tokens(one.ledger.sums("m"), one.slot("m")) == 6_000
    assert budget_room(Budget(32_768, 10_000, 0), 6_000) == 16_768
    assert verdict(one, 16_768) is None
    assert verdict(one, 16_769) is Reason.FREE_MEMORY


def test_potential_covers_reservations() -> None:
    one = session(slot(budget=(32_768, 10_000, 0), potential=20_000))
    reserve(one, 18_000)
    assert unaccounted_tokens(one.ledger.sums("m"), one.slot("m")) == 0
    assert verdict(one, 9_096) is None


def test_numbered_reports_count_each_reservation_once() -> None:
    # Local traffic fills the report, and none of it is ours: the reservation must still be added.
    one = session(slot(budget=(32_768, 10_000, 0), as_of_seq=4))
    reserve(one, 6_000, name="new")
    reserve(one, 10_000, name="seen", reflected=True)
    assert unaccounted_tokens(one.ledger.sums("m"), one.slot("m")) == 6_000


def test_kv_rate_without_budget_is_known_full() -> None:
    assert verdict(session(slot(budget=(0, 0, 0), kv_rate=20_480)), 1) is Reason.FREE_MEMORY


@pytest.mark.parametrize(("need", "admitted"), [(25_000, True), (26_000, False)])
def test_shared_pool(need: int, admitted: bool) -> None:
    one = session(slot(budget=(40_000, 10_000, 0)), slot(model="n", budget=(35_000, 5_000, 0)))
    reserve(one, 20_000)
    assert (need <= pool_room(one, "m")) is admitted


@pytest.mark.parametrize(("need", "admitted"), [(55_000, True), (55_001, False)])
def test_private_grants_add_up(need: int, admitted: bool) -> None:
    one = session(
        slot(budget=(40_000, 10_000, 0)),
        slot(model="n", budget=(35_000, 5_000, 0)),
        caps={"private_grants": True},
    )
    reserve(one, 20_000)
    assert (need <= pool_room(one, "m")) is admitted


def test_pool_in_bytes_charges_each_model_at_its_rate() -> None:
    one = session(slot(budget=(1_000, 0, 0), kv_rate=1_000), slot(model="n", budget=(100, 0, 0), kv_rate=10_000))
    assert pool_room(one, "m") >= 1_000
    assert pool_room(one, "n") >= 100
    assert pool_room(one, "n") < 101
    reserve(one, 50, model="n")
    assert pool_room(one, "m") < 501
    assert pool_room(one, "m") >= 500


def test_cold_model_is_charged_to_the_pool() -> None:
    one = session(slot(model="n", budget=(1_000_000, 999_000, 0), kv_rate=20_000))
    assert pool_room(one, "m") >= 50
    assert pool_room(one, "m") < 51


@pytest.mark.parametrize(("free", "admitted"), [(31.30, True), (31.29, False)])
def test_cold_load_against_reported_free_memory(free: float, admitted: bool) -> None:
    one = session(memory_gb=64, live={"free_for_load_gb": free})
    catalog = Catalog([CatalogEntry(id="m", size_gb=28)])
    assert (memory_room(one, AD, one.slot("m"), catalog) >= 1_256) is admitted


def test_cold_load_needs_room_for_the_tokens_too() -> None:
    one = session(memory_gb=64, live={"free_for_load_gb": 50.0})
    catalog = Catalog([CatalogEntry(id="m", size_gb=28)])
    assert memory_room(one, AD, one.slot("m"), catalog) >= 62_565
    assert memory_room(one, AD, one.slot("m"), catalog) < 62_566


def test_providers_own_estimate_outranks_the_catalogue() -> None:
    one = session(memory_gb=64, live={"free_for_load_gb": 30.0})
    catalog = Catalog([CatalogEntry(id="m", size_gb=28)])
    assert memory_room(one, ModelAd(id="m", estimated_memory_gb=29.0), one.slot("m"), catalog) >= 100


@pytest.mark.parametrize(("memory", "admitted"), [(24, True), (16, False)])
def test_cold_legacy_load(memory: float, admitted: bool) -> None:
    one = session(memory_gb=memory)
    catalog = Catalog([CatalogEntry(id="m", size_gb=12.1)])
    assert (memory_room(one, AD, one.slot("m"), catalog) >= 1_256) is admitted


@pytest.mark.parametrize(("gpu", "admitted"), [(51, True), (52, False)])
def test_busy_machine_cannot_evict(gpu: float, admitted: bool) -> None:
    one = session(memory_gb=64, live={"gpu_active_gb": gpu})
    reserve(one, 1, model="n")
    catalog = Catalog([CatalogEntry(id="m", size_gb=12.1)])
    assert (memory_room(one, AD, one.slot("m"), catalog) >= 1_256) is admitted


@pytest.mark.parametrize(("gpu", "admitted"), [(63.5, True), (63.6, False)])
def test_resident_without_budget_needs_memory_for_its_cache(gpu: float, admitted: bool) -> None:
    one = session(slot(), memory_gb=64, live={"gpu_active_gb": gpu})
    catalog = Catalog([CatalogEntry(id="m", size_gb=12.1)])
    assert (memory_room(one, AD, one.slot("m"), catalog) >= 1_256) is admitted


def test_tiny_model_loads_on_a_small_machine() -> None:
    one = session(memory_gb=2)
    catalog = Catalog([CatalogEntry(id="m", size_gb=0.004)])
    assert memory_room(one, AD, one.slot("m"), catalog) >= 1_000


@pytest.mark.parametrize(
    ("size", "min_ram", "memory", "fits"),
    [(0, 36, 32, False), (28, 0, 48, False), (28, 0, 64, True), (28, 36, 48, True), (28, 0, 0, True), (0, 0, 8, True)],
)
def test_hardware_fit(size: float, min_ram: float, memory: float, fits: bool) -> None:
    assert fits_hardware(size, min_ram, memory) is fits


def test_too_large_is_told_apart_from_full_and_ignored_when_resident() -> None:
    assert verdict(session(memory_gb=32), 1, min_ram=36) is Reason.MODEL_TOO_LARGE
    assert verdict(session(slot(budget=(1_000, 0, 0)), memory_gb=32), 1, min_ram=36) is None


@pytest.mark.parametrize(
    ("solo", "k", "q", "cap"),
    [
        (14, 0.39, 1, 2),
        (23, 0.39, 1, 2),
        (39.3, 0.39, 4, 5),
        (50.1, 0.39, 6, 8),
        (57, 0.39, 7, 8),
        (39.3, 0.27, 5, 6),
        (50.1, 0.27, 8, 8),
        (0, 0.39, 8, 8),
    ],
)
def test_quality_cap(solo: float, k: float, q: int, cap: int) -> None:
    assert quality_concurrency(8, solo, 15, k) == q
    assert quality_capped(8, solo, 15, k, 1.2) == cap


@pytest.mark.parametrize(("memory", "cap"), [(16, 2), (24, 2), (48, 4), (64, 6), (96, 6), (128, 8), (192, 12)])
def test_provider_cap_by_memory(memory: float, cap: int) -> None:
    assert provider_cap(session(slot(), memory_gb=memory)) == cap


def test_provider_cap_with_budget_or_without_report() -> None:
    assert provider_cap(session(slot(budget=(1, 0, 0)), memory_gb=8)) == 24
    assert provider_cap(session(has_capacity=False)) == 4


def test_legacy_provider_takes_four() -> None:
    one = session(slot(), has_capacity=False, memory_gb=0)
    for number in range(4):
        assert verdict(one, 1) is None
        reserve(one, 1, name=f"r{number}")
    assert verdict(one, 1) is Reason.NO_HEADROOM


def test_local_requests_count_for_concurrency() -> None:
    one = session(slot(running=2, waiting=1, max_concurrency=3, budget=(10_000, 0, 0)))
    assert verdict(one, 1) is Reason.NO_HEADROOM


def test_requests_of_other_models_count_for_the_provider() -> None:
    one = session(slot(), slot(model="n", running=5), memory_gb=64)
    assert verdict(one, 1) is None
    reserve(one, 1, model="x")
    assert verdict(one, 1) is Reason.NO_HEADROOM


def test_quality_cap_limits_a_slow_machine() -> None:
    one = session(slot(max_concurrency=8, running=2, budget=(100_000, 0, 0)), decode_tps=14)
    catalog = Catalog()
    arguments = {"catalog": catalog, "solo": 14.0}
    assert admit(one, AD, one.slot("m"), 1, policy=RoutingPolicy(), **arguments) is Reason.NO_HEADROOM
    assert admit(one, AD, one.slot("m"), 1, policy=OPEN, **arguments) is None


@pytest.mark.parametrize(
    ("memory", "size", "kv", "reserve_gb", "tokens"),
    [
        (64, 28, 400_000, 3, 62_565),
        (64, 28, 20_480, 5.5, 1_090_915),
        (24, 12.1, 0, 3, 13_628),
        (24, 12.1, 0, 5.5, 6_918),
        (36, 28, 0, 3, 0),
    ],
)
def test_cold_budget(memory: float, size: float, kv: int, reserve_gb: float, tokens: int) -> None:
    assert cold_budget_tokens(memory, size * 1.117587, kv, reserve_gb) == pytest.approx(tokens, abs=2)


def test_evicted_slot_is_judged_as_not_resident() -> None:
    stale: Slot = slot(SlotState.EVICTED, budget=(0, 0, 0), kv_rate=400_000)
    assert verdict(session(stale, live={"free_for_load_gb": 40.0}), 100, size_gb=12.1) is None
