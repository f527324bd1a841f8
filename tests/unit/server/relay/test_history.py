"""How often a request is tried, and what its client hears in the end."""

from __future__ import annotations

import pytest

from protocol import failure as failures
from protocol.messages.from_provider import InferenceError
from server.relay.classify import FailureKind, classify
from server.relay.history import AttemptLimits, RequestHistory, in_stream_error


def reported(**fields: object) -> failures.AttemptFailure:
    return failures.sanitise(InferenceError(request_id="r", **fields))  # type: ignore[arg-type]


def tried(*sequence: failures.AttemptFailure) -> tuple[RequestHistory, list[bool]]:
    history = RequestHistory()
    again = [
        history.note(failure, classify(failure), session_id=f"s{number}", version="1")
        for number, failure in enumerate(sequence)
    ]
    return history, again


def test_faults_are_tried_eight_times() -> None:
    _, again = tried(*[reported(status_code=500)] * 8)
    assert again == [True] * 7 + [False]


def test_capacity_and_timeouts_three_times_each() -> None:
    full = reported(failure_code="capacity", error_reason="token_budget_exhausted")
    assert tried(full, full, full)[1] == [True, True, False]
    late = failures.first_content_timeout()
    assert tried(late, late, late)[1] == [True, True, False]
    draining = reported(failure_code="capacity", error_reason="draining")
    assert tried(full, draining, draining, full, full)[1] == [True, True, True, True, False]


def test_a_refused_request_is_told_what_to_check() -> None:
    assert "roles" in tried(reported(status_code=400))[0].final_error(2).message
    assert "roles" not in tried(reported(status_code=415))[0].final_error(2).message


def test_a_fault_of_the_request_stops_at_once() -> None:
    assert tried(reported(status_code=400))[1] == [False]
    assert tried(reported(failure_code="template_render"))[1] == [False]
    assert tried(reported(error_reason="tool_noncompliance"))[1] == [True]


def test_failed_sessions_are_excluded_and_their_version_avoided() -> None:
    history, _ = tried(reported(status_code=500), reported(status_code=500))
    assert history.excluded == {"s0", "s1"}
    assert history.avoid_version == "1"


FINAL: list[tuple[failures.AttemptFailure, int, str, str, float | None]] = [
    (reported(status_code=400), 400, "invalid_request_error", "invalid_request_error", None),
    (reported(status_code=413), 413, "invalid_request_error", "invalid_request_error", None),
    (reported(status_code=415), 415, "invalid_request_error", "invalid_request_error", None),
    (reported(failure_code="template_render"), 422, "invalid_request_error", "model_capability", None),
    (reported(error_reason="tool_noncompliance"), 422, "invalid_request_error", "model_capability", None),
    (reported(error_reason="request_exceeds_context"), 429, "rate_limit_exceeded", "rate_limit_exceeded", 7),
    (reported(error_reason="token_budget_exhausted"), 429, "rate_limit_exceeded", "rate_limit_exceeded", 7),
    (reported(error_reason="draining"), 429, "rate_limit_exceeded", "rate_limit_exceeded", 7),
    (failures.first_content_timeout(), 429, "rate_limit_exceeded", "rate_limit_exceeded", 7),
    (reported(status_code=500), 502, "provider_error", "provider_error", None),
    (reported(terminal_cause="safety_deadline"), 504, "provider_error", "provider_error", None),
    (reported(status_code=404), 503, "provider_error", "provider_error", 7),
    (failures.provider_disconnected(), 502, "provider_error", "provider_error", None),
    (failures.coordinator_shutdown(), 429, "rate_limit_exceeded", "rate_limit_exceeded", 3),
]


@pytest.mark.parametrize(("failure", "status", "error_type", "code", "retry"), FINAL)
def test_final_error(
    failure: failures.AttemptFailure, status: int, error_type: str, code: str, retry: float | None
) -> None:
    error = tried(failure)[0].final_error(7.0)
    assert (error.status, error.error_type, error.code, error.retry_after_seconds) == (status, error_type, code, retry)


def test_final_error_reasons_and_forecast() -> None:
    assert tried(reported(error_reason="request_exceeds_context"))[0].final_error(2).reason == "oversized_request"
    assert tried(reported(error_reason="request_exceeds_context"))[0].final_error(2).retryable is False
    assert tried(failures.first_content_timeout())[0].final_error(2).reason == "first_chunk_timeout"
    forecast = reported(error_reason="capacity_busy", feasible_after_ms=12_000)
    assert tried(forecast)[0].final_error(2).retry_after_seconds == 12.0
    assert (
        tried(reported(error_reason="capacity_busy", feasible_after_ms=90_000))[0].final_error(2).retry_after_seconds
        == 30
    )


@pytest.mark.parametrize(("advice", "seconds"), [(0.0, 2.0), (5.0, 5.0), (600.0, 60.0)])
def test_retry_after_is_clamped(advice: float, seconds: float) -> None:
    assert RequestHistory().final_error(advice).retry_after_seconds == seconds


def test_provider_prose_never_reaches_the_client() -> None:
    error = tried(reported(status_code=500, error="user said: my secret"))[0].final_error(2)
    assert "secret" not in error.message
    assert "1 provider" in error.message


def test_in_stream_errors_have_two_types() -> None:
    assert in_stream_error(failures.chunk_gap_timeout()).error_type == "timeout"
    assert in_stream_error(failures.provider_disconnected()).error_type == "provider_error"


def test_limits_are_settable() -> None:
    history = RequestHistory(limits=AttemptLimits(attempts=1))
    assert not history.note(reported(status_code=500), FailureKind.FAULT, session_id="s", version=None)
