"""What a request has tried so far, whether it may try again, and what its client hears when it may not.

Pure. Lack of capacity and missed deadlines are 429 with `Retry-After`, never 503 or 504.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.api.errors import ApiError, internal_error, invalid_request, rate_limited
from protocol.failure import COORDINATOR_FAULT
from server.relay.classify import SHUTDOWN_REASON, STOPS, FailureKind

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure

RETRY_AFTER_MIN_SECONDS: Final = 2.0
RETRY_AFTER_MAX_SECONDS: Final = 60.0
DRAINING_RETRY_SECONDS: Final = 3.0

_MODEL_CAPABILITY: Final = "model_capability"
_CHECK_IT: Final = (
    "The provider refused the request as invalid; check the roles of its messages (system, user, assistant, tool), and "
    "its parameters."
)
_TYPED_TIMEOUTS: Final = frozenset({"safety_deadline", "backpressure_timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLimits:
    """How often one request may be tried, in all and after failures of two kinds."""

    attempts: int = 8
    capacity: int = 3
    timeouts: int = 3


@dataclass(slots=True)
class RequestHistory:
    """Failures of one request before content, in order."""

    limits: AttemptLimits = field(default_factory=AttemptLimits)
    attempts: int = 0
    capacity: int = 0
    timeouts: int = 0
    last: AttemptFailure | None = None
    last_kind: FailureKind | None = None
    excluded: set[str] = field(default_factory=set)
    avoid_version: str | None = None
    stopped: bool = False
    """A failure showed that every provider would fail: nothing more is tried, and it is the answer."""

    def note(self, failure: AttemptFailure, kind: FailureKind, *, session_id: str, version: str | None) -> bool:
        """Record one failed attempt; True when another provider may be tried.

        The session is excluded from now on, and its version is avoided if there is a choice.
        """
        self.attempts += 1
        self.excluded.add(session_id)
        if self.stopped:
            return False
        self.last = failure
        self.last_kind = kind
        self.stopped = kind in STOPS
        self.avoid_version = version or self.avoid_version
        if kind is FailureKind.CAPACITY:
            self.capacity += 1
        elif kind is FailureKind.TIMEOUT:
            self.timeouts += 1
        return (
            not self.stopped
            and self.attempts < self.limits.attempts
            and self.capacity < self.limits.capacity
            and self.timeouts < self.limits.timeouts
        )

    def final_error(self, retry_after_seconds: float) -> ApiError:
        """The one answer after the last failure; `retry_after_seconds` is the router's advice, clamped here."""
        wait = clamp_retry_after(retry_after_seconds)
        if self.last is None or self.last_kind is None:
            return rate_limited("No provider can take the request now; try again.", retry_after_seconds=wait)
        failure = self.last
        match self.last_kind:
            case FailureKind.CLIENT:
                text = _CHECK_IT if failure.code == "invalid_request" else failure.text
                return invalid_request(text, status=failure.status)
            case FailureKind.TEMPLATE:
                return invalid_request(failure.text, status=422, code=_MODEL_CAPABILITY)
            case FailureKind.NONCOMPLIANT:
                return invalid_request(
                    "The model did not comply with the forced tool or format; relax it or use another model.",
                    status=422,
                    code=_MODEL_CAPABILITY,
                )
            case FailureKind.UNSERVABLE:
                error = rate_limited(
                    "The request is longer than the model's context; shorten it.",
                    retry_after_seconds=wait,
                    reason="oversized_request",
                )
                error.retryable = False
                return error
            case FailureKind.CAPACITY:
                return rate_limited(
                    "No provider has room for the request now; try again.",
                    retry_after_seconds=_forecast(failure, wait),
                    reason="oversized_request",
                )
            case FailureKind.DRAINING if failure.reason == SHUTDOWN_REASON:
                return restarting_error()
            case FailureKind.DRAINING:
                return rate_limited(
                    "The providers of the model are draining; try again.", retry_after_seconds=wait, reason="draining"
                )
            case FailureKind.TIMEOUT:
                return rate_limited(
                    "No provider sent content in time; try again.",
                    retry_after_seconds=wait,
                    reason="first_chunk_timeout",
                )
            case FailureKind.NEUTRAL | FailureKind.FAULT:
                return self._provider_error(failure, wait)

    def _provider_error(self, failure: AttemptFailure, wait: float) -> ApiError:
        if failure.reason == COORDINATOR_FAULT:
            return internal_error()
        text = f"The request failed at {self.attempts} provider(s): {failure.text}"
        if failure.cause in _TYPED_TIMEOUTS:
            return ApiError(504, "provider_error", text)
        if failure.status in (404, 503):
            return ApiError(503, "provider_error", text, retry_after_seconds=wait)
        return ApiError(502, "provider_error", text)


def clamp_retry_after(seconds: float) -> float:
    """Between 2 and 60 seconds."""
    return min(RETRY_AFTER_MAX_SECONDS, max(RETRY_AFTER_MIN_SECONDS, seconds))


def restarting_error() -> ApiError:
    """The coordinator itself stops: another one, or this one after its start, serves a repeated request."""
    return rate_limited(
        "The coordinator is restarting; try again.", retry_after_seconds=DRAINING_RETRY_SECONDS, reason="draining"
    )


def in_stream_error(failure: AttemptFailure) -> ApiError:
    """The error of an answer that broke after content; a stream carries it as its last event."""
    if failure.reason == SHUTDOWN_REASON:
        return restarting_error()
    if failure.reason == COORDINATOR_FAULT:
        return internal_error()
    if failure.reason == "chunk_gap_timeout" or failure.cause in _TYPED_TIMEOUTS:
        return ApiError(504, "timeout", failure.text)
    return ApiError(502, "provider_error", failure.text)


def _forecast(failure: AttemptFailure, wait: float) -> float:
    """A provider's own forecast outranks ours, within 2 to 30 seconds."""
    if failure.feasible_after_ms <= 0:
        return wait
    return min(30.0, max(RETRY_AFTER_MIN_SECONDS, failure.feasible_after_ms / 1000))
