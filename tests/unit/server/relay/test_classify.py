"""What each failure means for the request, by closed codes alone."""

from __future__ import annotations

import pytest

from protocol import failure as failures
from protocol.messages.from_provider import InferenceError
from server.relay.classify import STOPS, FailureKind, classify

K = FailureKind
REPORTED: list[tuple[dict[str, object], FailureKind]] = [
    ({"status_code": 400}, K.CLIENT),
    ({"failure_code": "invalid_request", "status_code": 400}, K.CLIENT),
    ({"failure_code": "invalid_media"}, K.CLIENT),
    ({"status_code": 413}, K.CLIENT),
    ({"status_code": 415}, K.CLIENT),
    ({"failure_code": "template_render"}, K.TEMPLATE),
    ({"error_reason": "jinja_template", "status_code": 500}, K.TEMPLATE),
    ({"error_reason": "jinja_null_bridge"}, K.TEMPLATE),
    ({"failure_code": "invalid_request", "error_reason": "tool_noncompliance"}, K.NONCOMPLIANT),
    ({"error_reason": "tool_noncompliance"}, K.NONCOMPLIANT),
    ({"failure_code": "capacity", "error_reason": "request_exceeds_context"}, K.UNSERVABLE),
    ({"failure_code": "capacity", "error_reason": "request_exceeds_batch_token_budget"}, K.UNSERVABLE),
    ({"failure_code": "capacity", "error_reason": "draining", "status_code": 503}, K.DRAINING),
    ({"failure_code": "capacity", "error_reason": "queue_full"}, K.CAPACITY),
    ({"failure_code": "capacity", "error_reason": "token_budget_exhausted"}, K.CAPACITY),
    ({"failure_code": "capacity", "error_reason": "request_exceeds_node"}, K.CAPACITY),
    ({"failure_code": "capacity", "error_reason": "request_exceeds_node_budget"}, K.CAPACITY),
    ({"failure_code": "capacity", "error_reason": "capacity_busy"}, K.CAPACITY),
    ({"failure_code": "capacity", "error_reason": "deadline_unreachable"}, K.CAPACITY),
    ({"failure_code": "capacity"}, K.CAPACITY),
    ({"status_code": 429}, K.CAPACITY),
    ({"status_code": 503}, K.CAPACITY),
    ({"error_reason": "model_load", "status_code": 503}, K.CAPACITY),
    ({"error_reason": "model_load", "status_code": 500}, K.FAULT),
    ({"error_reason": "model_load", "status_code": 404}, K.NEUTRAL),
    ({"terminal_cause": "admission_timeout", "status_code": 500}, K.CAPACITY),
    ({"failure_code": "internal_failure", "terminal_cause": "admission_timeout"}, K.CAPACITY),
    ({"status_code": 404}, K.NEUTRAL),
    ({"failure_code": "cancelled"}, K.NEUTRAL),
    ({"status_code": 500, "terminal_cause": "safety_deadline"}, K.NEUTRAL),
    ({"status_code": 500, "terminal_cause": "backpressure_timeout"}, K.NEUTRAL),
    ({"status_code": 500, "terminal_cause": "watchdog"}, K.FAULT),
    ({"status_code": 500, "terminal_cause": "engine_error"}, K.FAULT),
    ({"status_code": 500}, K.FAULT),
    ({"status_code": 502}, K.FAULT),
    ({"status_code": 504}, K.FAULT),
    ({"failure_code": "encryption_failure", "status_code": 400}, K.FAULT),
    ({"failure_code": "generation_failure"}, K.FAULT),
    ({"failure_code": "banana", "status_code": 400}, K.FAULT),
    ({"status_code": 500, "error": "out of memory, draining, context length exceeded"}, K.FAULT),
    ({}, K.FAULT),
]


@pytest.mark.parametrize(("fields", "kind"), REPORTED)
def test_classify_reported_failure(fields: dict[str, object], kind: FailureKind) -> None:
    assert classify(failures.sanitise(InferenceError(request_id="r", **fields))) is kind  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (failures.provider_disconnected(), K.FAULT),
        (failures.provider_restart(), K.NEUTRAL),
        (failures.send_failed(), K.FAULT),
        (failures.encryption_violation(), K.FAULT),
        (failures.bad_text(), K.FAULT),
        (failures.first_content_timeout(), K.TIMEOUT),
        (failures.accepted_timeout(), K.TIMEOUT),
        (failures.coordinator_shutdown(), K.DRAINING),
    ],
)
def test_classify_failure_of_our_own(failure: failures.AttemptFailure, kind: FailureKind) -> None:
    assert classify(failure) is kind


@pytest.mark.parametrize(
    ("budget", "window", "kind"),
    [
        (8_000, 32_768, K.CAPACITY),
        (40_000, 32_768, K.UNSERVABLE),
        (None, 32_768, K.UNSERVABLE),
        (8_000, None, K.UNSERVABLE),
    ],
)
def test_classify_batch_budget_depends_on_what_is_known(
    budget: int | None, window: int | None, kind: FailureKind
) -> None:
    failure = failures.sanitise(
        InferenceError(request_id="r", failure_code="capacity", error_reason="request_exceeds_batch_token_budget")
    )
    assert classify(failure, provider_budget=budget, context_window=window) is kind


@pytest.mark.parametrize("reason", ["request_exceeds_context", "request_exceeds_batch_token_budget"])
@pytest.mark.parametrize(
    ("bound", "window", "kind"),
    [
        (16_384, 32_768, K.CAPACITY),
        (16_385, 32_768, K.UNSERVABLE),
        (16_384, None, K.UNSERVABLE),
        (None, 32_768, K.UNSERVABLE),
    ],
)
def test_a_request_that_surely_fits_is_too_long_for_nobody_else(
    reason: str, bound: int | None, window: int | None, kind: FailureKind
) -> None:
    failure = failures.sanitise(InferenceError(request_id="r", failure_code="capacity", error_reason=reason))
    assert classify(failure, context_window=window, request_bound=bound) is kind


def test_only_faults_of_the_request_stop_it() -> None:
    assert {K.CLIENT, K.TEMPLATE, K.UNSERVABLE} == STOPS
