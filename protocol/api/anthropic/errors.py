"""Errors in the envelope that Anthropic's SDKs read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocol.api.errors import ApiError

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's types by status; any other one below 500 is `invalid_request_error`, above it `api_error`."""


def error_type(status: int) -> str:
    """Anthropic's name for the errors of a status."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def anthropic_envelope(error: ApiError, request_id: str | None, *, in_stream: bool = False) -> dict[str, object]:
    """The body `{"type": "error", "error": {...}, "request_id": ...}`.

    Our stable code stands in `error.code` and, where the SDK looks for it, in `error.details.error_code`. Inside a
    stream (`in_stream`) a lack of capacity cannot be a limit of the caller any more: it is `overloaded_error`.
    """
    kind = "overloaded_error" if in_stream and error.status == 429 else error_type(error.status)
    body: dict[str, object] = {
        "type": kind,
        "message": error.message,
        "code": error.code,
        "details": {"error_code": error.code},
    }
    if error.param is not None:
        body["param"] = error.param
    if error.reason is not None:
        body["reason"] = error.reason
    if error.retry_after_seconds is not None:
        body["retry_after_ms"] = max(0, math.ceil(error.retry_after_seconds * 1000))
    envelope: dict[str, object] = {"type": "error", "error": body}
    if request_id is not None:
        envelope["request_id"] = request_id
    return envelope
