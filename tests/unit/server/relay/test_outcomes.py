"""What the registry learns from the fate of attempts."""

from __future__ import annotations

import pytest
from msgspec import structs

from protocol.failure import AttemptFailure, first_content_timeout, provider_disconnected, sanitise
from protocol.messages.from_provider import InferenceError
from server.registry import Reason, Reservation
from server.registry.demand import Signal
from server.relay.classify import classify
from server.relay.outcomes import OutcomeRecorder
from tests.unit.server.registry.fleet import Fleet, request, wire_slot

MODEL = "m"


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def reserve(fleet: Fleet, number: int = 1) -> Reservation:
    found = fleet.registry.choose_and_reserve(request(number), fleet.now).reservation
    assert found is not None
    return found


def fail(
    fleet: Fleet,
    failure: AttemptFailure,
    session_id: str = "a",
    *,
    waited: float = 5.0,
    times: int = 1,
    silent: bool = False,
) -> None:
    """Let attempts fail; the machine was heard of meanwhile unless it is silent."""
    recorder, session = OutcomeRecorder(fleet.registry), fleet.registry.session(session_id)
    assert session is not None
    heard_at = fleet.now - waited if silent else fleet.now
    session.live = structs.replace(session.live, last_heartbeat=heard_at)
    for _ in range(times):
        recorder.failed(
            failure,
            classify(failure),
            session,
            MODEL,
            "base",
            request_id="r",
            need=9_000,
            waited=waited,
            allowance=5.0,
            now=fleet.now,
        )


def gate(fleet: Fleet, session_id: str = "a") -> Reason | None:
    return fleet.registry.faults.pair(f"dev-{session_id}", MODEL, fleet.now).rejection("base")


def test_first_content_teaches_the_estimate_and_the_deadline(fleet: Fleet) -> None:
    fleet.warm("a")
    recorder = OutcomeRecorder(fleet.registry)
    session = fleet.registry.session("a")
    assert session is not None
    for number in range(60):
        held = reserve(fleet, number)
        expected = recorder.reserved(held, fleet.now)
        assert expected is None if number < 50 else expected == pytest.approx(1.0, rel=0.05)
        fleet.clock.now += 1.0
        recorder.content(session, MODEL, held.request_id, waited=1.0, allowance=5.0, cached_tokens=0, now=fleet.now)
        held.release(fleet.now)
    # 100 prompt tokens at 1,080 tokens/s and one at 90: 104 ms were predicted, 1 s it was.
    assert fleet.registry.calibration.ratio(MODEL, "M3") == 1.5
    assert fleet.registry.calibration.q90_ms(MODEL, 103.7) == pytest.approx(1_000, rel=0.01)
    assert fleet.registry.first_content.extended(MODEL, 5.0) == 5.0
    assert fleet.registry.demand.read(MODEL, fleet.now) == {}
    assert fleet.registry.demand.has_traffic(MODEL, fleet.now)


@pytest.mark.parametrize("reason", ["request_exceeds_context", "request_exceeds_batch_token_budget"])
def test_a_request_that_is_too_long_is_held_against_no_machine(fleet: Fleet, reason: str) -> None:
    fleet.warm("a")
    too_long = sanitise(
        InferenceError(request_id="r", error="x", status_code=400, failure_code="capacity", error_reason=reason)
    )
    fail(fleet, too_long, times=20)
    assert gate(fleet) is None
    faults = fleet.registry.faults.pair("dev-a", MODEL, fleet.now)
    assert (faults.ceiling, faults.capacity_cooldown) == (None, False)
    assert fleet.registry.faults.events("dev-a") == ()
    assert fleet.registry.demand.read(MODEL, fleet.now) == {}
    reserve(fleet).release(fleet.now)


def test_a_cold_pick_calibrates_nothing_and_is_a_shortage(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.beat("a", free_for_load=60.0)
    held = reserve(fleet)
    OutcomeRecorder(fleet.registry).reserved(held, fleet.now)
    assert fleet.registry.calibration.content(held.request_id, fleet.now + 1) is None
    assert fleet.registry.demand.read(MODEL, fleet.now) == {Signal.COLD_DISPATCH: 1.0}


def test_a_sized_refusal_clamps_and_teaches_the_ceiling(fleet: Fleet) -> None:
    fleet.connect("a")
    fleet.beat("a", wire_slot(active_token_budget_max=60_000, active_token_budget_used=40_000))
    full = sanitise(
        InferenceError(request_id="r", error="", status_code=503, failure_code="capacity", error_reason="capacity_busy")
    )
    fail(fleet, full)
    found = fleet.registry.faults.pair("dev-a", MODEL, fleet.now)
    assert (found.clamped, found.ceiling) == (True, 47_976)
    assert fleet.registry.choose_and_reserve(request(), fleet.now).rejected(Reason.FREE_MEMORY) == 1


def test_a_few_late_machines_are_struck_and_many_are_not(fleet: Fleet) -> None:
    for number in range(12):
        fleet.warm(f"p{number}")
    fail(fleet, first_content_timeout(), "p0", times=2)
    assert gate(fleet, "p0") is Reason.ERROR_COOLDOWN
    for number in range(1, 12):
        fail(fleet, first_content_timeout(), f"p{number}", times=2)
    assert [gate(fleet, f"p{number}") for number in range(2, 12)] == [None] * 10
    assert fleet.registry.demand.read(MODEL, fleet.now)[Signal.TTFT_MISS] == 24


def test_a_sleeping_machine_gets_nothing_and_comes_back_clean(fleet: Fleet) -> None:
    fleet.warm("a")
    fleet.warm("awake", concurrency=1)
    fail(fleet, first_content_timeout(), silent=True, times=3)
    assert gate(fleet) is Reason.BREAKER
    assert reserve(fleet).session_id == "awake"
    fail(fleet, provider_disconnected(), times=4)
    fleet.registry.disconnect("a", fleet.now, graceful=False)
    fleet.warm("back", stable_id="dev-a")
    assert gate(fleet) is None
    assert reserve(fleet, 2).session_id == "back"


def test_a_machine_that_was_there_and_said_nothing_is_struck(fleet: Fleet) -> None:
    fleet.warm("a")
    fail(fleet, first_content_timeout(), silent=True, times=2)
    fleet.clock.now += 5.0
    fleet.beat("a", wire_slot(active_token_budget_max=100_000))
    assert gate(fleet) is Reason.ERROR_COOLDOWN


def test_a_late_attempt_with_little_time_left_is_no_strike(fleet: Fleet) -> None:
    fleet.warm("a")
    fail(fleet, first_content_timeout(), waited=1.0, times=3)
    assert gate(fleet) is None


def test_a_lost_connection_counts_once_and_is_forgiven_by_a_new_version(fleet: Fleet) -> None:
    fleet.warm("a")
    fail(fleet, provider_disconnected(), times=5)
    assert gate(fleet) is None
    fleet.warm("a2", stable_id="dev-a")
    fail(fleet, provider_disconnected(), "a2", times=5)
    assert gate(fleet) is Reason.ERROR_COOLDOWN
    fleet.registry.faults.version_changed("dev-a", "0.0.1", fleet.now)
    fleet.registry.faults.version_changed("dev-a", "0.0.2", fleet.now)
    assert gate(fleet) is None


def test_a_connection_lost_after_content_is_no_fault(fleet: Fleet) -> None:
    fleet.warm("a")
    session = fleet.registry.session("a")
    assert session is not None
    recorder = OutcomeRecorder(fleet.registry)
    for _ in range(3):
        recorder.broken(provider_disconnected(), session, MODEL, "base", fleet.now)
    assert gate(fleet) is None
    broken = sanitise(InferenceError(request_id="r", error="", status_code=500, failure_code="generation_failure"))
    for _ in range(2):
        recorder.broken(broken, session, MODEL, "base", fleet.now)
    assert gate(fleet) is Reason.ERROR_COOLDOWN


def test_neutral_causes_touch_nothing(fleet: Fleet) -> None:
    fleet.warm("a")
    neutral = sanitise(InferenceError(request_id="r", error="", status_code=500, terminal_cause="safety_deadline"))
    fail(fleet, neutral, times=5)
    assert gate(fleet) is None
    assert fleet.registry.faults.events("dev-a") == ()


def test_answers_teach_their_length(fleet: Fleet) -> None:
    fleet.warm("a")
    session = fleet.registry.session("a")
    assert session is not None
    recorder = OutcomeRecorder(fleet.registry)
    for _ in range(10):
        recorder.success(session, MODEL, "base", account_id="me", completion_tokens=40, now=fleet.now)
    assert fleet.registry.output_lengths.expected(MODEL, "me", 1_000) == pytest.approx(40)


def test_a_race_teaches_nothing_about_speed(fleet: Fleet) -> None:
    fleet.warm("a")
    recorder = OutcomeRecorder(fleet.registry)
    held = reserve(fleet)
    recorder.reserved(held, fleet.now)
    recorder.hedged(MODEL, held.request_id, "other", fleet.now)
    recorder.hedge_won(MODEL, fleet.now)
    assert fleet.registry.calibration.content(held.request_id, fleet.now + 1) is None
    assert fleet.registry.demand.read(MODEL, fleet.now) == {
        Signal.SPECULATIVE_STARTED: 1.0,
        Signal.SPECULATIVE_WON: 1.0,
    }
