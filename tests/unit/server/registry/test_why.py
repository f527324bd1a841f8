"""Explanations: every gate by name, and the same verdict as routing itself."""

from __future__ import annotations

import msgspec
import pytest

from protocol.messages.from_provider import ModelEntry
from server.registry import Reason, RoutingPolicy
from server.registry.gates import evaluate
from server.registry.request import RoutedRequest
from server.registry.traces import ATTEMPTS_MAX, KEPT, RoutingTraces
from server.registry.why import HINTS, MODELS_MAX
from tests.unit.server.registry.fleet import Fleet, register_message, request, trusted, wire_slot

SAMPLE = RoutedRequest(request_id="", logical_id="", model="m", prompt_tokens=500, max_tokens=256)


def test_a_good_machine_passes_every_gate(fleet: Fleet) -> None:
    session = fleet.warm("a")
    report = fleet.registry.explain(session, fleet.now)
    (model,) = report.models
    assert (model.eligible, model.reason, model.state) == (True, None, "resident")
    assert all(gate.passed and not gate.hint for gate in model.gates)
    assert model.room_tokens == 100_000
    assert model.cost.total == pytest.approx(model.cost_ms, abs=1e-6)
    assert report.faults == ()


BROKEN: list[tuple[Reason, dict[str, object], dict[str, object]]] = [
    (Reason.TRUST_FLOOR, {"trust": trusted(level="none")}, {}),
    (Reason.UNTRUSTED, {"trust": trusted(untrusted="hard")}, {}),
    (Reason.PRIVATE_TEXT, {"trust": trusted(private_text=False)}, {}),
    (Reason.RUNTIME_UNVERIFIED, {"trust": trusted(runtime_verified=False)}, {}),
    (Reason.CHALLENGE_STALE, {"trust": trusted(1.0)}, {}),
    (Reason.PRIVATE_ONLY, {"message": register_message(private_only=True)}, {}),
    (Reason.TRAIT_FLOOR, {"message": register_message(ModelEntry(id="m", template_render_ok=False))}, {}),
    (Reason.SLOT_CRASHED, {}, {"state": "crashed"}),
    (Reason.SLOT_RELOADING, {}, {"state": "reloading"}),
    (Reason.NO_HEADROOM, {}, {"num_running": 2, "max_concurrency": 2}),
    (Reason.FREE_MEMORY, {}, {"active_token_budget_max": 700}),
]


@pytest.mark.parametrize(("reason", "session", "slot"), BROKEN, ids=lambda value: getattr(value, "value", ""))
def test_the_first_gate_that_fails_is_the_one_of_routing(
    fleet: Fleet, reason: Reason, session: dict[str, object], slot: dict[str, object]
) -> None:
    one = fleet.connect("a", **session)  # type: ignore[arg-type]
    fleet.beat("a", wire_slot(**{"active_token_budget_max": 100_000, **slot}))
    (model,) = fleet.registry.explain(one, fleet.now).models
    assert model.reason is reason is evaluate(one, SAMPLE, fleet.registry._context, fleet.now)
    (failed,) = [gate for gate in model.gates if not gate.passed]
    assert failed.hint == HINTS[reason]


def test_faults_are_named_with_their_time(fleet: Fleet) -> None:
    session = fleet.warm("a")
    for _ in range(2):
        fleet.registry.faults.error("dev-a", "m", "base", 502, fleet.now)
    fleet.clock.now += 10
    report = fleet.registry.explain(session, fleet.now)
    assert report.models[0].reason is Reason.ERROR_COOLDOWN
    assert report.models[0].next_change_seconds is not None
    assert {note.seconds_ago for note in report.faults} == {10.0}


def test_reports_are_bounded(fleet: Fleet) -> None:
    names = [ModelEntry(id=f"m{number}") for number in range(MODELS_MAX + 3)]
    session = fleet.connect("a", message=register_message(*names))
    report = fleet.registry.explain(session, fleet.now)
    assert (len(report.models), report.more_models) == (MODELS_MAX, 3)
    assert msgspec.json.encode(report)


def test_a_trace_tells_what_was_expected_and_what_happened(fleet: Fleet) -> None:
    fleet.warm("slow", message=register_message(decode_tps=30.0))
    fleet.warm("fast")
    asked = request(prompt_tokens=1_000, explain=True)
    reservation = fleet.registry.choose_and_reserve(asked, fleet.now).reservation
    assert reservation is not None
    reservation.mark_streaming(fleet.now + 1.5)
    reservation.release(fleet.now + 4)
    (attempt,) = fleet.registry.traces.of("l1")
    assert (attempt.provider_id, attempt.path.value, attempt.ended_as) == ("fast", "unique_min", "streaming")
    assert (attempt.actual_ttft_ms, attempt.held_ms) == (1_500.0, 4_000.0)
    assert attempt.expected_ttft_ms == pytest.approx(937.037, abs=1e-3)
    assert [rival.provider_id for rival in attempt.rivals] == ["fast", "slow"]
    assert attempt.rivals[0].cost_ms == attempt.cost_ms


def test_a_trace_without_a_place_has_the_reasons(fleet: Fleet) -> None:
    fleet.warm("a", concurrency=1)
    fleet.registry.choose_and_reserve(request(1), fleet.now)
    fleet.registry.choose_and_reserve(request(2, logical_id="second"), fleet.now)
    (attempt,) = fleet.registry.traces.of("second")
    assert (attempt.provider_id, attempt.rejections) == (None, {Reason.NO_HEADROOM: 1})
    assert fleet.registry.traces.of("unknown") == ()


def test_only_requests_that_ask_pay_for_the_rivals(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.registry.choose_and_reserve(request(), fleet.now)
    assert fleet.registry.traces.of("l1")[0].rivals == ()


def test_rivals_are_the_cheapest_with_room() -> None:
    fleet = Fleet(policy=RoutingPolicy(quality_cap=False))
    for number in range(12):
        message = register_message(decode_tps=30.0 + 10 * number)
        fleet.warm(f"s{number}", budget=150 if number == 11 else 100_000, message=message)
    fleet.registry.choose_and_reserve(request(explain=True), fleet.now)
    found = [rival.provider_id for rival in fleet.registry.traces.of("l1")[0].rivals]
    assert found == ["s10", "s9", "s8", "s7", "s6"]


def test_traces_are_bounded(fleet: Fleet) -> None:
    traces = RoutingTraces()
    fleet.warm("a", concurrency=24)
    for number in range(ATTEMPTS_MAX + 3):
        asked = request(number, logical_id="same")
        traces.decided(asked, fleet.registry.look(asked, fleet.now))
    assert len(traces.of("same")) == ATTEMPTS_MAX
    nothing = fleet.registry.look(request(), fleet.now)
    for number in range(KEPT):
        traces.decided(request(number), nothing)
    assert len(traces) == KEPT
    assert traces.of("same") == ()


def test_machines_are_counted_by_the_gate_that_stops_them_and_unproven_names_are_not(fleet: Fleet) -> None:
    fleet.warm("good")
    fleet.warm("full", concurrency=1)
    fleet.warm("low", trust=trusted(level="none"))
    fleet.connect("liar", message=register_message(ModelEntry(id="invented")), trust=trusted(admitted=False))
    fleet.registry._chooser.commit(fleet.registry.session("full"), request(), fleet.registry._context, fleet.now)  # type: ignore[arg-type]
    assert sorted(fleet.registry.gate_counts()) == [
        ("m", "no_headroom", 1),
        ("m", "passed", 1),
        ("m", "trust_floor", 1),
    ]
