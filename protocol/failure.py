"""What an attempt's failure means: the sanitiser for provider errors, and the failures that the coordinator makes.

Only closed words leave this module. The provider's `error` text is never read; our fixed text of the code replaces it.
Codes decide, then reasons, then the status; a word that nobody knows counts as a drift and reads as absent.
"""

from dataclasses import dataclass
from typing import Final, Literal

from protocol.messages.from_provider import InferenceError, Usage
from protocol.vocabulary import (
    CAPACITY_REASONS,
    ERROR_REASONS,
    FAILURE_CODES,
    NEUTRAL_CAUSES,
    REJECTION_REASONS,
    TEMPLATE_REASONS,
    TERMINAL_CAUSES,
    FailureCode,
)

Health = Literal["fault", "capacity", "neutral", "none"]
"""What a failure says about its provider: a strike, a capacity signal, nothing at all (`neutral`: neither strikes nor
clears; `none`: the request or the model was at fault)."""

Drift = Literal["failure_code", "error_reason", "terminal_cause", "rejection_reason"]

MAX_FEASIBLE_AFTER_MS: Final = 3_600_000
COORDINATOR_FAULT: Final = "coordinator_fault"
"""The reason of a failure that is our own crash."""

_TEXTS: Final[dict[FailureCode, str]] = {
    "invalid_request": "The provider refused the request as invalid.",
    "invalid_media": "The provider could not read the media of the request.",
    "media_too_large": "The media of the request is too large for the provider.",
    "unsupported_media": "The provider does not support this kind of media.",
    "template_render": "The chat template of this model cannot render the request.",
    "model_unavailable": "The model is not available on the provider.",
    "capacity": "The provider has no capacity for the request now.",
    "cancelled": "The request was cancelled.",
    "encryption_failure": "The encrypted exchange with the provider failed.",
    "generation_failure": "The provider failed to generate an answer.",
    "internal_failure": "The provider had an internal failure.",
}

_CLIENT_STATUS: Final[dict[FailureCode, int]] = {"invalid_media": 400, "media_too_large": 413, "unsupported_media": 415}

_BLAMELESS: Final[frozenset[FailureCode]] = frozenset(
    {
        "invalid_request",
        "invalid_media",
        "media_too_large",
        "unsupported_media",
        "template_render",
        "model_unavailable",
    }
)


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """One failed attempt in closed words; `status` is the normalised attempt status, not what a client must see.

    `available_token_budget` and `feasible_after_ms` are the provider's hints in charged tokens and milliseconds;
    `usage` is for statistics and is never billed; `drift` names the fields that held unknown words.
    """

    status: int
    code: FailureCode
    reason: str
    cause: str | None
    health: Health
    text: str
    drift: tuple[Drift, ...] = ()
    rejection_reason: str | None = None
    available_token_budget: int | None = None
    feasible_after_ms: int = 0
    usage: Usage | None = None

    @property
    def starts_load_cooldown(self) -> bool:
        """Whether this (provider, model) pair should not be asked to load again for a while."""
        return self.code == "model_unavailable" and self.health == "none"


def sanitise(error: InferenceError) -> AttemptFailure:
    """Rewrite a provider's error into closed words; the same input always gives the same result.

    Source: wire protocol, failure vocabulary and the sanitiser.
    """
    drift: list[Drift] = []
    cause = _known(error.terminal_cause, TERMINAL_CAUSES, "terminal_cause", drift)
    reason = _known(error.error_reason, ERROR_REASONS, "error_reason", drift)
    rejection = _known(error.rejection_reason, REJECTION_REASONS, "rejection_reason", drift)
    if error.failure_code in FAILURE_CODES:
        code = FAILURE_CODES[error.failure_code]
    elif error.failure_code:
        code = "generation_failure"
        drift.append("failure_code")
    else:
        code = _derived_code(cause, reason, error.status_code)
        if code == "capacity" and error.status_code == 429 and reason is None and cause is None:
            reason = "queue_full"
    kept = _kept_reason(code, reason)
    budget = error.available_token_budget
    return AttemptFailure(
        status=_status(code, kept, cause, error.status_code),
        code=code,
        reason=kept,
        cause=cause,
        health=_health(code, kept, cause),
        text=_TEXTS[code],
        drift=tuple(drift),
        rejection_reason=rejection,
        available_token_budget=budget if budget is not None and budget >= 0 else None,
        feasible_after_ms=min(max(error.feasible_after_ms, 0), MAX_FEASIBLE_AFTER_MS),
        usage=error.attempt_usage,
    )


def failure_text(code: FailureCode) -> str:
    """Give the fixed text of a code; providers send it as `error` so that no exception text ever leaves a machine."""
    return _TEXTS[code]


def provider_disconnected() -> AttemptFailure:
    """The socket broke: a fault of the provider."""
    return _made(502, "internal_failure", "provider_disconnected", "fault", "The provider disconnected.")


def provider_restart() -> AttemptFailure:
    """The provider said goodbye (close 1000 or 1001) with work in flight: no fault."""
    return _made(502, "internal_failure", "provider_restart", "neutral", "The provider disconnected.")


def provider_gone(close_code: int | None) -> AttemptFailure:
    """Choose between the two: `close_code` is the peer's close code, None when the connection broke without one."""
    return provider_restart() if close_code in (1000, 1001) else provider_disconnected()


def send_failed() -> AttemptFailure:
    """The request never reached the wire in full."""
    return _made(502, "internal_failure", "send_failed", "fault", "The request could not be sent to the provider.")


def encryption_violation() -> AttemptFailure:
    """A chunk was plaintext, mixed, from another key, or did not open; the provider is untrusted as well."""
    return _made(502, "encryption_failure", "provider_error", "fault", _TEXTS["encryption_failure"])


def bad_text() -> AttemptFailure:
    """A chunk opened, but its plaintext is not UTF-8; no loss of trust."""
    return _made(502, "generation_failure", "provider_error", "fault", _TEXTS["generation_failure"])


def first_content_timeout() -> AttemptFailure:
    """No content by the first-content deadline."""
    return _made(504, "generation_failure", "first_content_timeout", "fault", "The provider sent no content in time.")


def accepted_timeout() -> AttemptFailure:
    """The provider accepted the request and then sent nothing for the long accepted limit."""
    return _made(504, "generation_failure", "accepted_timeout", "fault", "The provider sent no content in time.")


def chunk_gap_timeout() -> AttemptFailure:
    """A stream stopped between two chunks for longer than the limit."""
    return _made(504, "generation_failure", "chunk_gap_timeout", "fault", "The provider stopped sending its answer.")


def coordinator_shutdown() -> AttemptFailure:
    """The coordinator ends the attempt because it stops; nobody's fault."""
    return _made(503, "cancelled", "coordinator_shutdown", "neutral", "The coordinator is shutting down.")


def coordinator_fault() -> AttemptFailure:
    """The coordinator itself failed while it handled the attempt; says nothing about the provider."""
    return _made(500, "internal_failure", COORDINATOR_FAULT, "neutral", "The coordinator failed; try again.")


def _made(status: int, code: FailureCode, reason: str, health: Health, text: str) -> AttemptFailure:
    return AttemptFailure(status=status, code=code, reason=reason, cause=None, health=health, text=text)


def _known(word: str, known: frozenset[str], field: Drift, drift: list[Drift]) -> str | None:
    """Keep a known word; an unknown one reads as absent and is counted without its value."""
    if word in known:
        return word
    if word:
        drift.append(field)
    return None


def _derived_code(cause: str | None, reason: str | None, status: int) -> FailureCode:
    """Find the code that an old provider did not send; the first hit wins."""
    if cause == "admission_timeout":
        return "capacity"
    if cause == "cancelled":
        return "cancelled"
    if reason in TEMPLATE_REASONS:
        return "template_render"
    if reason == "model_load":
        return _BY_LOAD_STATUS.get(status, "internal_failure")
    if reason in CAPACITY_REASONS:
        return "capacity"
    if reason is not None:
        return _BY_REASON[reason]
    return _BY_STATUS.get(status, "generation_failure")


_BY_LOAD_STATUS: Final[dict[int, FailureCode]] = {404: "model_unavailable", 503: "capacity"}
_BY_REASON: Final[dict[str, FailureCode]] = {
    "cancelled": "cancelled",
    "client_error": "invalid_request",
    "tool_noncompliance": "generation_failure",
}
_BY_STATUS: Final[dict[int, FailureCode]] = {
    400: "invalid_request",
    404: "model_unavailable",
    413: "media_too_large",
    415: "unsupported_media",
    429: "capacity",
    499: "cancelled",
    503: "capacity",
}


def _kept_reason(code: FailureCode, reason: str | None) -> str:
    """Keep a reason that fits its code, else the code's default."""
    match code:
        case "invalid_request":
            return "tool_noncompliance" if reason == "tool_noncompliance" else "client_error"
        case "invalid_media" | "media_too_large" | "unsupported_media":
            return "client_error"
        case "template_render":
            return reason if reason in TEMPLATE_REASONS and reason is not None else "jinja_template"
        case "model_unavailable":
            return "model_load"
        case "capacity":
            return reason if reason in CAPACITY_REASONS and reason is not None else "capacity_timeout"
        case "cancelled":
            return "cancelled"
        case "generation_failure":
            return "tool_noncompliance" if reason == "tool_noncompliance" else "provider_error"
        case "internal_failure":
            return "model_load" if reason == "model_load" else "provider_error"
        case "encryption_failure":
            return "provider_error"


def _status(code: FailureCode, reason: str, cause: str | None, reported: int) -> int:
    if cause in _STATUS_OF_CAUSE:
        return _STATUS_OF_CAUSE[cause]
    match code:
        case "invalid_request":
            return 422 if reason == "tool_noncompliance" else 400
        case "invalid_media" | "media_too_large" | "unsupported_media":
            return _CLIENT_STATUS[code]
        case "template_render":
            return 422
        case "model_unavailable":
            return 404 if reported == 404 else 503
        case "capacity":
            return 429 if reason == "queue_full" else 503
        case "cancelled":
            return 499
        case "encryption_failure":
            return 502
        case "generation_failure":
            return 422 if reason == "tool_noncompliance" else 500
        case "internal_failure":
            return 500


_STATUS_OF_CAUSE: Final[dict[str | None, int]] = {
    "admission_timeout": 503,
    "safety_deadline": 504,
    "backpressure_timeout": 504,
    "cancelled": 499,
}


def _health(code: FailureCode, reason: str, cause: str | None) -> Health:
    """Say what a failure tells about the provider; an absent or unknown cause and `engine_error` go by the code."""
    if cause == "admission_timeout":
        return "capacity"
    if cause in NEUTRAL_CAUSES or code == "cancelled":
        return "neutral"
    if reason in ("tool_noncompliance", "draining") or code in _BLAMELESS:
        return "none"
    return "capacity" if code == "capacity" else "fault"
