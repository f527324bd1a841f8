"""The capacity endpoint's numbers (acceptance 17)."""

from __future__ import annotations

import pytest

from server.registry import Enqueue, RoutingPolicy
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot

BUSY = {
    "state": "running",
    "num_running": 2,
    "num_waiting": 1,
    "observed_decode_tps": 55.0,
    "max_tokens_potential": 4_400,
    "active_token_budget_max": 50_000,
    "active_token_budget_used": 3_000,
}


def test_busy_warm_and_cold_provider() -> None:
    fleet = Fleet(policy=RoutingPolicy())
    fleet.connect("warm")
    fleet.beat("warm", wire_slot(**BUSY))
    fleet.connect("cold", message=register_message(decode_tps=40.0))
    fleet.beat("cold")
    (row,) = fleet.registry.capacity(fleet.now)
    assert (row.routable_providers, row.warm_providers, row.running_providers, row.cold_providers) == (2, 1, 1, 1)
    assert (row.active_requests, row.queued_requests, row.queue_limit) == (3, 0, 32)
    assert row.aggregate_tps == pytest.approx(95)
    assert row.estimated_ttft_ms == 80_462
    assert (row.token_budget_remaining, row.token_budget_total) == (47_000, 50_000)
    assert row.ready
    assert row.can_accept


def test_provider_at_its_cap_is_not_ready_but_counted(fleet: Fleet) -> None:
    fleet.connect("warm")
    fleet.beat("warm", wire_slot(max_concurrency=3, **BUSY))
    verdict = fleet.registry.decide(request(), fleet.now)
    assert isinstance(verdict, Enqueue)
    fleet.registry.enqueue(request(), verdict.decision, now=fleet.now, wake=lambda: None)
    (row,) = fleet.registry.capacity(fleet.now)
    assert (row.warm_providers, row.routable_providers, row.queued_requests) == (1, 0, 1)
    assert not row.ready
    assert not row.can_accept


@pytest.mark.parametrize(
    "hidden",
    [
        {"message": register_message(private_only=True)},
        {"trust": trusted(level="none")},
        {"trust": trusted(verified_at=None)},
    ],
)
def test_provider_that_is_not_publicly_live_is_not_counted(fleet: Fleet, hidden: dict[str, object]) -> None:
    fleet.warm("a", **hidden)
    assert fleet.registry.capacity(fleet.now) == []


def test_cold_only_model_adds_the_load(fleet: Fleet) -> None:
    fleet.connect("cold")
    fleet.beat("cold")
    (row,) = fleet.registry.capacity(fleet.now)
    assert row.estimated_ttft_ms == 20_462


def test_known_full_provider_is_not_routable(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.beat("a", wire_slot(kv_bytes_per_token=20_480))
    (row,) = fleet.registry.capacity(fleet.now)
    assert (row.warm_providers, row.routable_providers) == (1, 0)
