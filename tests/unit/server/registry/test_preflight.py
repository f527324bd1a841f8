"""The decision table for requests without a place (acceptance 7-f to 7-i)."""

from __future__ import annotations

import pytest

from protocol.messages.from_provider import Hardware, ModelEntry
from server.registry import (
    CatalogEntry,
    Dispatch,
    Enqueue,
    QueueFailure,
    Refusal,
    RoutedRequest,
    RoutingPolicy,
    SelfRoute,
    Traits,
    Verdict,
)
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot


def decide(fleet: Fleet, asked: RoutedRequest | None = None) -> Verdict:
    return fleet.registry.decide(asked if asked is not None else request(), fleet.now)


def refused(fleet: Fleet, asked: RoutedRequest | None = None) -> Refusal:
    verdict = decide(fleet, asked)
    assert isinstance(verdict, Refusal)
    return verdict


def full(fleet: Fleet, **options: object) -> None:
    fleet.warm("a", concurrency=1, **options)  # type: ignore[arg-type]
    assert fleet.registry.choose_and_reserve(request(99), fleet.now).reservation is not None


def test_a_free_provider_is_dispatched(fleet: Fleet) -> None:
    session = fleet.warm("a")
    verdict = decide(fleet)
    assert isinstance(verdict, Dispatch)
    assert verdict.decision.session is session
    assert len(session.ledger) == 1


def test_unknown_model(fleet: Fleet) -> None:
    refusal = refused(fleet)
    assert (refusal.status, refusal.code, refusal.retry_after_ms) == (404, "model_not_found", None)


def test_model_of_a_provider_that_left_is_not_unknown(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.registry.disconnect("a", fleet.now, graceful=True)
    refusal = refused(fleet)
    assert (refusal.status, refusal.reason) == (429, "no_provider")


def test_catalogued_model_and_empty_registry() -> None:
    refusal = refused(Fleet(catalog=[CatalogEntry(id="m")]))
    assert (refusal.status, refusal.code, refusal.reason) == (429, "rate_limit_exceeded", "no_provider")
    assert refusal.retry_after_seconds == 2


def test_vision_without_any_provider_is_no_provider() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m")])
    assert refused(fleet, request(traits=Traits(requires_vision=True))).reason == "no_provider"


def test_shed_model() -> None:
    fleet = Fleet(policy=RoutingPolicy(reject_models=frozenset({"m"})))
    fleet.warm("a")
    refusal = refused(fleet)
    assert (refusal.status, refusal.reason, refusal.retry_after_seconds) == (429, "model_shed", 2)


@pytest.mark.parametrize(
    ("traits", "named"),
    [
        (Traits(requires_vision=True), "image input"),
        (Traits(has_tools=True, requires_tool_constraint=True), "forced tool choice"),
    ],
)
def test_missing_capability_is_named(fleet: Fleet, traits: Traits, named: str) -> None:
    fleet.warm("a")
    refusal = refused(fleet, request(traits=traits))
    assert (refusal.status, refusal.code, refusal.retry_after_ms) == (503, "model_unavailable", None)
    assert named in refusal.message
    assert refusal.retryable is False


def test_model_that_fits_no_machine() -> None:
    fleet = Fleet(catalog=[CatalogEntry(id="m", min_ram_gb=64)])
    fleet.connect("a", message=register_message(hardware=Hardware(memory_gb=32)))
    fleet.beat("a", memory_gb=32.0)
    refusal = refused(fleet)
    assert (refusal.status, refusal.code, refusal.retry_after_ms) == (503, "model_unavailable", None)


def test_full_fleet_queues(fleet: Fleet) -> None:
    full(fleet)
    verdict = decide(fleet)
    assert isinstance(verdict, Enqueue)
    assert verdict.model == "m"


def test_full_fleet_without_queueing_is_429() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False, queue_before_shed=False))
    full(fleet)
    refusal = refused(fleet)
    assert (refusal.status, refusal.reason, refusal.retry_after_seconds) == (429, "machine_busy", 2)


def test_retries_never_queue(fleet: Fleet) -> None:
    full(fleet)
    assert refused(fleet, request(attempt=2)).reason == "machine_busy"


def test_model_that_is_loading_is_worth_waiting_for(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.beat("a", wire_slot(state="reloading"))
    assert isinstance(decide(fleet), Enqueue)


def test_untrusted_fleet_is_no_provider(fleet: Fleet) -> None:
    fleet.warm("a", trust=trusted(untrusted="hard"))
    assert refused(fleet).reason == "no_provider"


def test_previous_build_takes_over() -> None:
    fleet = Fleet()
    fleet.warm("old", message=register_message(ModelEntry(id="m-1")))
    fleet.beat("old", wire_slot("m-1"))
    full(fleet)
    verdict = decide(fleet, request(previous_build="m-1"))
    assert isinstance(verdict, Dispatch)
    assert verdict.decision.model == "m-1"
    assert verdict.decision.reservation is not None
    assert verdict.decision.reservation.model == "m-1"


def test_desired_build_wins_while_it_has_room(fleet: Fleet) -> None:
    fleet.warm("old", message=register_message(ModelEntry(id="m-1")))
    fleet.warm("a")
    verdict = decide(fleet, request(previous_build="m-1"))
    assert isinstance(verdict, Dispatch)
    assert verdict.decision.model == "m"


@pytest.mark.parametrize(
    ("policy_status", "code", "reason"),
    [(400, "context_length_exceeded", "context_exceeded"), (429, "rate_limit_exceeded", "context_exceeded")],
)
def test_context_overflow_is_known_beforehand(policy_status: int, code: str, reason: str) -> None:
    policy = RoutingPolicy(context_overflow_status=policy_status)
    fleet = Fleet(policy=policy, catalog=[CatalogEntry(id="m", context_window=8_192)])
    fleet.warm("a")
    refusal = refused(fleet, request(prompt_tokens=7_000, max_tokens=1_500))
    assert (refusal.status, refusal.code, refusal.reason) == (policy_status, code, reason)
    assert isinstance(decide(fleet, request(prompt_tokens=6_692, max_tokens=1_500)), Dispatch)


def test_prompt_larger_than_every_budget(fleet: Fleet) -> None:
    fleet.warm("a", budget=10_000)
    refusal = refused(fleet, request(prompt_tokens=50_000))
    assert (refusal.status, refusal.reason, refusal.retryable) == (429, "prompt_too_long", False)
    assert isinstance(decide(fleet, request(2, prompt_tokens=9_000)), Dispatch)
    assert isinstance(decide(fleet, request(3, prompt_tokens=9_000)), Enqueue)


def test_hard_ttft_waits_for_a_machine_that_must_load_first() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False, ttft_hard_reject=True))
    fleet.connect("cold")
    fleet.beat("cold", free_for_load=60.0)
    assert isinstance(fleet.registry.decide(request(), fleet.now), Enqueue)
    assert isinstance(fleet.registry.decide(request(attempt=2), fleet.now), Refusal)


def test_hard_ttft_refuses_with_the_excess() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False, ttft_hard_reject=True))
    fleet.warm("a", message=register_message(decode_tps=1.0))
    refusal = refused(fleet, request(prompt_tokens=240))
    assert (refusal.status, refusal.reason) == (429, "ttft_too_slow")
    assert refusal.retry_after_seconds == 16  # 20 s of prefill and 1 s of decode against 5.24 s


def own(number: int = 1, **fields: object) -> RoutedRequest:
    return request(number, self_route=SelfRoute.EXCLUSIVE, **fields)


def test_own_route_without_linked_machine(fleet: Fleet) -> None:
    fleet.warm("a")
    refusal = refused(fleet, own(has_linked_machine=False))
    assert (refusal.status, refusal.code, refusal.retry_after_ms) == (409, "no_linked_machine", None)


def test_own_route_offline(fleet: Fleet) -> None:
    fleet.warm("a")
    refusal = refused(fleet, own())
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "machine_offline", 30)


def test_own_route_model_not_served(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.warm("mine", account_id="consumer", message=register_message(ModelEntry(id="n")))
    refusal = refused(fleet, own())
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "model_not_loaded", 15)


def test_own_route_incapable(fleet: Fleet) -> None:
    fleet.warm("mine", account_id="consumer")
    refusal = refused(fleet, own(traits=Traits(requires_vision=True)))
    assert (refusal.status, refusal.code) == (503, "model_capability_unsupported")
    assert (refusal.error_type, refusal.retry_after_ms) == ("model_unavailable", None)


def test_own_route_not_ready(fleet: Fleet) -> None:
    fleet.warm("mine", account_id="consumer", trust=trusted(verified_at=None))
    assert refused(fleet, own()).code == "machine_offline"


def test_own_route_busy_queues_and_never_falls_back(fleet: Fleet) -> None:
    full(fleet, account_id="consumer")
    fleet.warm("public")
    verdict = decide(fleet, own())
    assert isinstance(verdict, Enqueue)
    refusal = fleet.registry.queue_refusal(own(), QueueFailure.TIMED_OUT, verdict.decision, fleet.now)
    assert (refusal.status, refusal.code) == (429, "machine_busy")
    assert refused(fleet, own(attempt=2)).code == "machine_busy"


LASTING = (QueueFailure.MODEL_REMOVED, QueueFailure.INCAPABLE)


@pytest.mark.parametrize("failure", [one for one in QueueFailure if one not in LASTING])
def test_queue_outcomes_are_429(fleet: Fleet, failure: QueueFailure) -> None:
    full(fleet)
    verdict = decide(fleet)
    assert isinstance(verdict, Enqueue)
    refusal = fleet.registry.queue_refusal(request(), failure, verdict.decision, fleet.now)
    assert (refusal.status, refusal.reason) == (429, failure.value)
    assert refusal.retry_after_seconds == 2


def test_queued_for_a_removed_model_is_404(fleet: Fleet) -> None:
    full(fleet)
    verdict = decide(fleet)
    assert isinstance(verdict, Enqueue)
    refusal = fleet.registry.queue_refusal(request(), QueueFailure.MODEL_REMOVED, verdict.decision, fleet.now)
    assert (refusal.status, refusal.code) == (404, "model_not_found")
