"""The error envelope and the headers that belong to an error."""

from __future__ import annotations

from protocol.api import ApiError, openai_envelope
from protocol.api.errors import invalid_request, model_not_found, rate_limited, renamed


def test_envelope_has_type_message_and_code_always() -> None:
    assert openai_envelope(ApiError(500, "internal_error", "Text.")) == {
        "error": {"message": "Text.", "type": "internal_error", "code": "internal_error"}
    }


def test_envelope_shows_param_reason_and_retry() -> None:
    error = ApiError(429, "rate_limit_exceeded", "T.", param="p", reason="queue_full", retry_after_seconds=2.5)
    assert openai_envelope(error)["error"] == {
        "message": "T.",
        "type": "rate_limit_exceeded",
        "code": "rate_limit_exceeded",
        "param": "p",
        "reason": "queue_full",
        "retry_after_ms": 2500,
    }


def test_headers_round_retry_up_and_tell_sdks() -> None:
    assert rate_limited("T.", retry_after_seconds=2.1).headers() == [("Retry-After", "3")]
    assert ApiError(503, "model_unavailable", "T.", retryable=False).headers() == [("x-should-retry", "false")]
    assert invalid_request("T.", status=422).headers() == [("x-should-retry", "false")]
    assert ApiError(405, "invalid_request_error", "T.", allow=("GET", "HEAD")).headers() == [("Allow", "GET, HEAD")]
    assert ApiError(401, "authentication_error", "T.").headers() == [("WWW-Authenticate", 'Bearer realm="darkbloom"')]


def test_a_param_is_renamed_where_another_dialect_has_its_own_name() -> None:
    names = {"messages": "input"}
    assert renamed(invalid_request("T.", param="messages"), names).param == "input"
    assert renamed(invalid_request("T.", param="messages[0]"), names).param == "messages[0]"
    assert renamed(invalid_request("T."), names).param is None


def test_model_not_found_cuts_long_names() -> None:
    error = model_not_found("x" * 10_000)
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert len(error.message) < 300
