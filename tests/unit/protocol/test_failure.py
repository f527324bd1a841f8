"""The sanitiser: closed words in, one normalised failure out."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import failure
from protocol.failure import AttemptFailure, failure_text, sanitise
from protocol.messages.from_provider import InferenceError, Usage
from protocol.vocabulary import (
    CAPACITY_REASONS,
    ERROR_REASONS,
    FAILURE_CODES,
    FAULT_CAUSES,
    NEUTRAL_CAUSES,
    TEMPLATE_REASONS,
    TERMINAL_CAUSES,
)


def clean(*, status: int = 0, code: str = "", reason: str = "", cause: str = "") -> AttemptFailure:
    return sanitise(
        InferenceError(
            request_id="r",
            error="user said: my secret",
            status_code=status,
            failure_code=code,
            error_reason=reason,
            terminal_cause=cause,
        )
    )


@pytest.mark.parametrize(
    ("given_code", "reason", "reported", "status", "kept"),
    [
        ("invalid_request", "", 0, 400, "client_error"),
        ("invalid_request", "tool_noncompliance", 0, 422, "tool_noncompliance"),
        ("invalid_request", "queue_full", 0, 400, "client_error"),
        ("invalid_media", "", 500, 400, "client_error"),
        ("media_too_large", "", 500, 413, "client_error"),
        ("unsupported_media", "", 500, 415, "client_error"),
        ("template_render", "", 500, 422, "jinja_template"),
        ("template_render", "jinja_null_bridge", 500, 422, "jinja_null_bridge"),
        ("template_render", "client_error", 500, 422, "jinja_template"),
        ("model_unavailable", "", 404, 404, "model_load"),
        ("model_unavailable", "", 500, 503, "model_load"),
        ("capacity", "queue_full", 500, 429, "queue_full"),
        ("capacity", "", 429, 503, "capacity_timeout"),
        ("capacity", "request_exceeds_context", 0, 503, "request_exceeds_context"),
        ("capacity", "model_load", 0, 503, "model_load"),
        ("capacity", "client_error", 0, 503, "capacity_timeout"),
        ("cancelled", "", 500, 499, "cancelled"),
        ("encryption_failure", "", 400, 502, "provider_error"),
        ("generation_failure", "", 200, 500, "provider_error"),
        ("generation_failure", "tool_noncompliance", 500, 422, "tool_noncompliance"),
        ("internal_failure", "", 502, 500, "provider_error"),
        ("internal_failure", "model_load", 500, 500, "model_load"),
    ],
)
def test_code_decides_status_and_reason(given_code: str, reason: str, reported: int, status: int, kept: str) -> None:
    result = clean(code=given_code, reason=reason, status=reported)
    assert (result.code, result.status, result.reason) == (given_code, status, kept)
    assert result.drift == ()


@pytest.mark.parametrize(
    ("cause", "status"),
    [("admission_timeout", 503), ("safety_deadline", 504), ("backpressure_timeout", 504), ("cancelled", 499)],
)
@pytest.mark.parametrize("code", ["", *FAILURE_CODES])
def test_cause_overrides_the_status(cause: str, status: int, code: str) -> None:
    assert clean(code=code, cause=cause, status=500).status == status


@pytest.mark.parametrize("cause", ["prefill_stall", "decode_stall", "watchdog", "engine_error"])
def test_other_causes_leave_the_status(cause: str) -> None:
    assert clean(code="generation_failure", cause=cause).status == 500


@pytest.mark.parametrize(
    ("status", "reason", "cause", "code"),
    [
        (500, "", "admission_timeout", "capacity"),
        (500, "client_error", "admission_timeout", "capacity"),
        (500, "", "cancelled", "cancelled"),
        (500, "jinja_template", "", "template_render"),
        (404, "jinja_template", "", "template_render"),
        (404, "model_load", "", "model_unavailable"),
        (503, "model_load", "", "capacity"),
        (500, "model_load", "", "internal_failure"),
        (400, "token_budget_exhausted", "", "capacity"),
        (400, "draining", "", "capacity"),
        (500, "cancelled", "", "cancelled"),
        (500, "client_error", "", "invalid_request"),
        (500, "tool_noncompliance", "", "generation_failure"),
        (400, "", "", "invalid_request"),
        (413, "", "", "media_too_large"),
        (415, "", "", "unsupported_media"),
        (404, "", "", "model_unavailable"),
        (429, "", "", "capacity"),
        (503, "", "", "capacity"),
        (499, "", "", "cancelled"),
        (422, "", "", "generation_failure"),
        (418, "", "", "generation_failure"),
        (0, "", "", "generation_failure"),
    ],
)
def test_missing_code_is_derived_first_hit_wins(status: int, reason: str, cause: str, code: str) -> None:
    assert clean(status=status, reason=reason, cause=cause).code == code


def test_free_text_never_survives() -> None:
    result = clean(status=500)
    assert (result.status, result.text) == (500, "The provider failed to generate an answer.")
    assert "secret" not in repr(result)


def test_capacity_with_full_queue_is_429() -> None:
    assert clean(code="capacity", reason="queue_full", status=500).status == 429


def test_unknown_code_reads_as_generation_failure_and_drifts() -> None:
    result = clean(code="banana", status=429)
    assert (result.status, result.code, result.drift) == (500, "generation_failure", ("failure_code",))


def test_bare_429_is_a_full_queue() -> None:
    result = clean(status=429)
    assert (result.status, result.reason, result.health) == (429, "queue_full", "capacity")


def test_429_with_a_reason_keeps_the_reason() -> None:
    result = clean(status=429, reason="capacity_busy")
    assert (result.status, result.reason) == (503, "capacity_busy")


def test_safety_deadline_is_504_without_a_strike() -> None:
    result = clean(cause="safety_deadline", status=500)
    assert (result.status, result.health) == (504, "neutral")


def test_unknown_cause_reads_as_absent_and_drifts() -> None:
    result = clean(cause="lease_reaped", status=500)
    assert (result.cause, result.drift) == (None, ("terminal_cause",))
    assert (result.status, result.code, result.health) == (500, "generation_failure", "fault")


def test_unknown_reason_reads_as_absent_and_drifts() -> None:
    result = clean(reason="mood", status=400)
    assert (result.code, result.reason, result.drift) == ("invalid_request", "client_error", ("error_reason",))


@pytest.mark.parametrize("marker", ["provider_error", "provider_restart", "provider_disconnected", "chunk_overflow"])
def test_markers_of_ours_cannot_come_from_the_wire(marker: str) -> None:
    result = clean(reason=marker, status=500)
    assert result.reason == "provider_error"
    assert result.drift == ("error_reason",)


@pytest.mark.parametrize(
    ("arguments", "health"),
    [
        ({"cause": "admission_timeout", "code": "generation_failure"}, "capacity"),
        ({"cause": "backpressure_timeout", "code": "internal_failure"}, "neutral"),
        ({"cause": "cancelled"}, "neutral"),
        ({"code": "cancelled"}, "neutral"),
        ({"code": "capacity", "reason": "queue_full"}, "capacity"),
        ({"code": "capacity", "reason": "draining"}, "none"),
        ({"code": "model_unavailable", "cause": "watchdog"}, "none"),
        ({"code": "template_render"}, "none"),
        ({"code": "generation_failure", "reason": "tool_noncompliance"}, "none"),
        ({"code": "invalid_request"}, "none"),
        ({"code": "internal_failure", "cause": "engine_error"}, "fault"),
        ({"code": "internal_failure", "reason": "model_load"}, "fault"),
        ({"code": "generation_failure", "cause": "decode_stall"}, "fault"),
        ({"code": "encryption_failure"}, "fault"),
        ({"status": 503}, "capacity"),
        ({"status": 502}, "fault"),
    ],
)
def test_health_class(arguments: dict[str, str], health: str) -> None:
    assert clean(**arguments).health == health  # type: ignore[arg-type]


def test_load_cooldown_starts_on_unavailable_models_outside_neutral_and_capacity_causes() -> None:
    assert clean(code="model_unavailable").starts_load_cooldown
    assert clean(code="model_unavailable", cause="engine_error").starts_load_cooldown
    assert not clean(code="model_unavailable", cause="safety_deadline").starts_load_cooldown
    assert not clean(code="model_unavailable", cause="admission_timeout").starts_load_cooldown
    assert not clean(code="internal_failure", reason="model_load").starts_load_cooldown


def test_hints_are_bounded_and_usage_is_kept() -> None:
    usage = Usage(prompt_tokens=3)
    result = sanitise(
        InferenceError(
            status_code=503,
            available_token_budget=-5,
            feasible_after_ms=2**60,
            rejection_reason="kv_headroom",
            attempt_usage=usage,
        )
    )
    assert (result.available_token_budget, result.feasible_after_ms) == (None, 3_600_000)
    assert (result.rejection_reason, result.usage) == ("kv_headroom", usage)
    assert sanitise(InferenceError(available_token_budget=0, feasible_after_ms=-1)).available_token_budget == 0
    assert sanitise(InferenceError(rejection_reason="mood")).drift == ("rejection_reason",)


def test_every_combination_of_known_words_gives_a_known_failure() -> None:
    statuses = (0, 200, 400, 404, 413, 415, 422, 429, 499, 500, 503)
    for code, reason, cause, status in product(
        ("", *FAILURE_CODES), ("", *ERROR_REASONS), ("", *TERMINAL_CAUSES), statuses
    ):
        result = clean(code=code, reason=reason, cause=cause, status=status)
        assert result.code in FAILURE_CODES
        assert result.reason in ERROR_REASONS | {"provider_error"}
        assert result.status in {400, 404, 413, 415, 422, 429, 499, 500, 502, 503, 504}
        assert result.text == failure_text(result.code)
        if cause in NEUTRAL_CAUSES:
            assert result.health == "neutral"


@given(*(st.text(max_size=20) for _ in range(4)), st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_foreign_words_never_survive(code: str, reason: str, cause: str, rejection: str, status: int) -> None:
    result = sanitise(
        InferenceError(
            error=code,
            failure_code=code,
            error_reason=reason,
            terminal_cause=cause,
            rejection_reason=rejection,
            status_code=status,
        )
    )
    assert result.reason in ERROR_REASONS | {"provider_error"}
    assert result.cause is None or result.cause in TERMINAL_CAUSES


@pytest.mark.parametrize(
    ("made", "status", "reason", "health"),
    [
        (failure.provider_disconnected(), 502, "provider_disconnected", "fault"),
        (failure.provider_restart(), 502, "provider_restart", "neutral"),
        (failure.provider_gone(1000), 502, "provider_restart", "neutral"),
        (failure.provider_gone(1001), 502, "provider_restart", "neutral"),
        (failure.provider_gone(1006), 502, "provider_disconnected", "fault"),
        (failure.provider_gone(None), 502, "provider_disconnected", "fault"),
        (failure.send_failed(), 502, "send_failed", "fault"),
        (failure.encryption_violation(), 502, "provider_error", "fault"),
        (failure.bad_text(), 502, "provider_error", "fault"),
        (failure.first_content_timeout(), 504, "first_content_timeout", "fault"),
        (failure.accepted_timeout(), 504, "accepted_timeout", "fault"),
        (failure.chunk_gap_timeout(), 504, "chunk_gap_timeout", "fault"),
        (failure.coordinator_shutdown(), 503, "coordinator_shutdown", "neutral"),
    ],
)
def test_failures_of_our_own(made: AttemptFailure, status: int, reason: str, health: str) -> None:
    assert (made.status, made.reason, made.health) == (status, reason, health)
    assert made.text.endswith(".")


def test_violation_is_an_encryption_failure_and_disconnects_say_one_text() -> None:
    assert failure.encryption_violation().code == "encryption_failure"
    assert failure.provider_restart().text == failure.provider_disconnected().text == "The provider disconnected."


def test_vocabularies_do_not_overlap_where_they_must_not() -> None:
    assert not TEMPLATE_REASONS & CAPACITY_REASONS
    assert not FAULT_CAUSES & NEUTRAL_CAUSES
    assert len(FAILURE_CODES) == 11
