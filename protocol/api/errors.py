"""Errors of the public API: one value that knows its status, its stable code and its envelope."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOULD_RETRY_HEADER: Final = "x-should-retry"
"""Header that both official SDKs obey before their own retry rules."""


CHALLENGE: Final = ("WWW-Authenticate", 'Bearer realm="darkbloom"')
"""What every 401 carries (RFC 9110, section 11.6.1; RFC 6750)."""


class ApiError(Exception):
    """A failure that a caller of the public API sees.

    `message` is written by us and never holds prompt text, credentials or provider prose. `error_type` and `code` are
    stable names; `code` equals the type unless it says more. `retry_after_seconds` becomes `Retry-After` (whole
    seconds, rounded up). `retryable=False` tells SDKs not to repeat a request that can never succeed. `reason` is a
    closed, optional detail (`error.reason`).
    """

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        reason: str | None = None,
        retryable: bool | None = None,
        allow: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.code = code if code is not None else error_type
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.reason = reason
        self.retryable = retryable
        self.allow = allow
        self.also: tuple[tuple[str, str], ...] = ()
        """More headers of the answer that carries this error."""

    def __repr__(self) -> str:
        return f"ApiError({self.status}, {self.error_type!r}, code={self.code!r}, param={self.param!r})"

    def headers(self) -> list[tuple[str, str]]:
        """Response headers that belong to this error: `Retry-After`, `x-should-retry`, `WWW-Authenticate`, `Allow`."""
        found: list[tuple[str, str]] = []
        if self.retry_after_seconds is not None:
            found.append(("Retry-After", str(max(0, math.ceil(self.retry_after_seconds)))))
        if self.retryable is not None:
            found.append((SHOULD_RETRY_HEADER, "true" if self.retryable else "false"))
        if self.status == 401:
            found.append(CHALLENGE)
        if self.allow:
            found.append(("Allow", ", ".join(self.allow)))
        found += self.also
        return found


def openai_envelope(error: ApiError) -> dict[str, object]:
    """The body `{"error": {...}}` that OpenAI SDKs unwrap; absent details are left out."""
    body: dict[str, object] = {"message": error.message, "type": error.error_type, "code": error.code}
    if error.param is not None:
        body["param"] = error.param
    if error.reason is not None:
        body["reason"] = error.reason
    if error.retry_after_seconds is not None:
        body["retry_after_ms"] = max(0, math.ceil(error.retry_after_seconds * 1000))
    return {"error": body}


def invalid_request(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> ApiError:
    """A deterministic fault of the request itself (400, 404, 405, 413, 415 or 422)."""
    return ApiError(
        status,
        "invalid_request_error",
        message,
        code=code,
        param=param,
        retryable=False if status == 422 else None,
    )


def renamed(error: ApiError, names: Mapping[str, str]) -> ApiError:
    """The same error, which names a member as its caller does: `names` are those of another dialect by chat's."""
    if error.param is not None:
        error.param = names.get(error.param, error.param)
    return error


def payload_too_large(limit_bytes: int) -> ApiError:
    """413 for a body above the cap, read or re-serialised."""
    return invalid_request(
        f"The request body is larger than {limit_bytes} bytes; send a smaller body.",
        code="payload_too_large",
        status=413,
    )


def rate_limited(message: str, *, retry_after_seconds: float, reason: str | None = None) -> ApiError:
    """429 with `Retry-After`: every transient lack of capacity, and every limit."""
    return ApiError(429, "rate_limit_exceeded", message, retry_after_seconds=retry_after_seconds, reason=reason)


def model_not_found(model: str) -> ApiError:
    """404 for a name that is neither an alias nor a catalogued build; long names are cut in the text."""
    shown = model if len(model) <= 100 else model[:100] + "…"
    return ApiError(
        404,
        "model_not_found",
        f"The model {shown!r} does not exist; GET /v1/models lists the models that do.",
        param="model",
    )


def internal_error() -> ApiError:
    """500 for a crash of ours; says nothing about its cause."""
    return ApiError(500, "internal_error", "An internal error happened; try again.")
