"""One synchronous decision: the record it keeps, and what it leaves in the ledger."""

from __future__ import annotations

import pytest

from server.registry import Reason, RoutingPolicy
from server.registry.decision import ChoicePath
from tests.unit.server.registry.fleet import Fleet, register_message, request, wire_slot


def test_decision_reserves_on_the_cheapest(fleet: Fleet) -> None:
    fleet.warm("slow", message=register_message(decode_tps=30.0))
    fast = fleet.warm("fast")
    decision = fleet.registry.choose_and_reserve(request(prompt_tokens=1_000), fleet.now)
    assert decision.session is fast
    assert decision.path is ChoicePath.UNIQUE_MIN
    assert decision.equal == 1
    assert decision.reservation is not None
    assert fast.ledger.sums("m").key() == (1, 1_100, 1_100)
    assert decision.winner is not None
    assert decision.winner.terms.total == pytest.approx(decision.winner.cost, abs=1e-6)


def test_nothing_free_says_why(fleet: Fleet) -> None:
    fleet.warm("a", concurrency=1)
    first = fleet.registry.choose_and_reserve(request(1), fleet.now)
    second = fleet.registry.choose_and_reserve(request(2), fleet.now)
    assert first.reservation is not None
    assert second.reservation is None
    assert second.rejections == {Reason.NO_HEADROOM: 1}
    assert second.capacity_rejections == 1
    first.reservation.release(fleet.now)
    assert fleet.registry.choose_and_reserve(request(3), fleet.now).reservation is not None


def test_cold_provider_is_an_ordinary_candidate(fleet: Fleet) -> None:
    fleet.connect("cold")
    fleet.beat("cold")
    decision = fleet.registry.choose_and_reserve(request(), fleet.now)
    assert decision.reservation is not None
    assert decision.reservation.cold
    fleet.warm("warm")
    decision = fleet.registry.choose_and_reserve(request(2), fleet.now)
    assert decision.reservation is not None
    assert (decision.reservation.session_id, decision.reservation.cold) == ("warm", False)


def test_soft_ttft_serves_the_best_and_records_the_miss(fleet: Fleet) -> None:
    fleet.warm("slow", message=register_message(decode_tps=1.0))
    decision = fleet.registry.choose_and_reserve(request(prompt_tokens=1_000), fleet.now)
    assert decision.reservation is not None
    assert decision.ttft_miss
    assert decision.winner is not None
    assert decision.winner.ttft_ms == pytest.approx(1000 * 1000 / 12 + 1000)


def test_best_ttft_is_unknown_with_a_legacy_candidate(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.connect("legacy")
    fleet.beat("legacy", capacity=False, warm_models=("m",))
    assert not fleet.registry.look(request(), fleet.now).has_ttft


def test_look_reserves_nothing(fleet: Fleet) -> None:
    session = fleet.warm("a")
    assert fleet.registry.look(request(), fleet.now).candidates == 1
    assert len(session.ledger) == 0


def test_excluded_sessions_and_failed_version(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.warm("b")
    fleet.warm("c", message=register_message(version="0.6.30"))
    asked = request(excluded_sessions=frozenset({"a"}), avoid_version="0.6.31", attempt=2)
    decision = fleet.registry.choose_and_reserve(asked, fleet.now)
    assert decision.session is not None
    assert decision.session.session_id == "c"
    assert fleet.registry.look(asked, fleet.now).rejections == {Reason.EXCLUDED: 1}


def test_full_budget_goes_to_the_next_provider(fleet: Fleet) -> None:
    fleet.warm("a", budget=300)
    fleet.warm("b", budget=300, message=register_message(decode_tps=20.0))
    placed = [fleet.registry.choose_and_reserve(request(number), fleet.now).session for number in (1, 2, 3)]
    assert [one.session_id if one else None for one in placed] == ["a", "b", None]


def test_quality_cap_is_on_by_default() -> None:
    fleet = Fleet(policy=RoutingPolicy())
    fleet.connect("a", message=register_message(decode_tps=14.0))
    fleet.beat("a", wire_slot(active_token_budget_max=100_000))
    placed = [fleet.registry.choose_and_reserve(request(number), fleet.now).reservation for number in (1, 2, 3)]
    assert [one is not None for one in placed] == [True, True, False]
