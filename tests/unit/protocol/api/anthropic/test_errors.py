"""Anthropic's error envelope."""

from __future__ import annotations

import anthropic
import msgspec
import pytest

from protocol.api.anthropic import anthropic_envelope
from protocol.api.errors import ApiError, rate_limited
from tests.unit.protocol.api.anthropic.sdk_reader import client_reading

CASES = [
    (400, "invalid_request_error", anthropic.BadRequestError),
    (401, "authentication_error", anthropic.AuthenticationError),
    (402, "billing_error", anthropic.APIStatusError),
    (403, "permission_error", anthropic.PermissionDeniedError),
    (404, "not_found_error", anthropic.NotFoundError),
    (405, "invalid_request_error", anthropic.APIStatusError),
    (409, "invalid_request_error", anthropic.ConflictError),
    (413, "request_too_large", anthropic.RequestTooLargeError),
    (422, "invalid_request_error", anthropic.UnprocessableEntityError),
    (429, "rate_limit_error", anthropic.RateLimitError),
    (500, "api_error", anthropic.InternalServerError),
    (502, "api_error", anthropic.InternalServerError),
    (503, "overloaded_error", anthropic.InternalServerError),
    (504, "timeout_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind", "raised"), CASES)
def test_every_status_has_its_type_and_the_sdk_raises_it(status: int, kind: str, raised: type[Exception]) -> None:
    body = msgspec.json.encode(anthropic_envelope(ApiError(status, "our_type", "Text.", code="our_code"), "req-1"))
    with client_reading(body, "application/json", status) as client, pytest.raises(raised) as found:
        client.messages.create(model="m", max_tokens=9, messages=[])
    error = found.value
    assert isinstance(error, anthropic.APIStatusError)
    assert (error.status_code, error.type, error.error_code) == (status, kind, "our_code")
    assert (error.api_message, error.request_id) == ("Text.", "req-1")


def test_whole_envelope() -> None:
    error = rate_limited("Wait.", retry_after_seconds=2.5, reason="queue_full")
    error.param = "model"
    assert anthropic_envelope(error, None) == {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "Wait.",
            "code": "rate_limit_exceeded",
            "details": {"error_code": "rate_limit_exceeded"},
            "param": "model",
            "reason": "queue_full",
            "retry_after_ms": 2500,
        },
    }
    assert anthropic_envelope(error, "r", in_stream=True)["error"]["type"] == "overloaded_error"  # type: ignore[index]
