"""Every way in which a request can fail, as the words of the wire; pure.

The `error` text of a frame is the fixed text of its failure code, so that no content can leave by it.
"""

from dataclasses import dataclass
from typing import Final

from protocol.failure import failure_text
from protocol.messages.from_provider import InferenceError, Usage
from protocol.sealing import SealingReason
from protocol.vocabulary import FailureCode
from provider.engine import Cause, Failure
from provider.models.source import RefusalKind


@dataclass(frozen=True, slots=True)
class Refusal:
    """Closed words of one failure; empty texts are left out on the wire."""

    status: int
    code: FailureCode
    reason: str = ""
    cause: str = ""
    rejection: str = ""


class RequestRefused(Exception):
    """A request ends with this refusal; the text is fixed."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(failure_text(refusal.code))
        self.refusal: Final = refusal


DRAINING: Final = Refusal(503, "capacity", "draining")
TOO_MANY: Final = Refusal(429, "capacity", "queue_full")
INVALID: Final = Refusal(400, "invalid_request", "client_error")
NO_MEDIA: Final = Refusal(400, "unsupported_media", "client_error")
DOES_NOT_OPEN: Final = Refusal(400, "encryption_failure")
NOT_ADVERTISED: Final = Refusal(404, "model_unavailable", "model_load")
DEADLINE: Final = Refusal(503, "capacity", "deadline_unreachable", rejection="deadline")
CANCELLED: Final = Refusal(499, "cancelled", "cancelled", "cancelled")
SHORT_OF_MEMORY: Final = Refusal(503, "capacity", "capacity_busy", rejection="memory_cap")
SEALING_FAILED: Final = Refusal(500, "encryption_failure")
NONCOMPLIANT: Final = Refusal(422, "generation_failure", "tool_noncompliance")
INTERNAL: Final = Refusal(500, "internal_failure")

OF_CAUSE: Final[dict[Cause, Refusal]] = {
    Cause.INVALID_REQUEST: INVALID,
    Cause.MODEL_UNAVAILABLE: Refusal(503, "capacity", "model_load", rejection="slot_state"),
    Cause.QUEUE_FULL: TOO_MANY,
    Cause.REQUEST_EXCEEDS_CONTEXT: Refusal(400, "capacity", "request_exceeds_context"),
    Cause.REQUEST_EXCEEDS_NODE_BUDGET: Refusal(
        503, "capacity", "request_exceeds_node_budget", rejection="token_budget"
    ),
    Cause.TOKEN_BUDGET_EXHAUSTED: Refusal(503, "capacity", "token_budget_exhausted", rejection="token_budget"),
    Cause.CAPACITY_BUSY: SHORT_OF_MEMORY,
    Cause.DEADLINE_UNREACHABLE: DEADLINE,
    Cause.ADMISSION_TIMEOUT: Refusal(503, "capacity", "capacity_timeout", "admission_timeout"),
    Cause.PREFILL_STALL: Refusal(500, "generation_failure", cause="prefill_stall"),
    Cause.DECODE_STALL: Refusal(500, "generation_failure", cause="decode_stall"),
    Cause.SAFETY_DEADLINE: Refusal(504, "generation_failure", cause="safety_deadline"),
    Cause.BACKPRESSURE_TIMEOUT: Refusal(504, "generation_failure", cause="backpressure_timeout"),
    Cause.WATCHDOG: Refusal(500, "internal_failure", cause="watchdog"),
    Cause.ENGINE_ERROR: Refusal(500, "internal_failure", cause="engine_error"),
    Cause.GENERATION_FAILURE: Refusal(500, "generation_failure"),
}
"""The refusal of every engine cause; a test holds it complete."""

OF_LOAD: Final[dict[RefusalKind, Refusal]] = {
    "unknown_model": NOT_ADVERTISED,
    "no_slot": Refusal(503, "capacity", "model_load", rejection="slot_state"),
    "memory": Refusal(503, "capacity", "model_load", rejection="memory_cap"),
    "broken": Refusal(500, "internal_failure", "model_load"),
}


def of_template(reason: str) -> Refusal:
    """The model's template does not render the messages."""
    return Refusal(400, "template_render", reason)


def of_sealing(reason: SealingReason) -> Refusal:
    """The body's box is missing, malformed, or sealed to another key."""
    return DOES_NOT_OPEN if reason in ("does_not_open", "key_gone") else INVALID


def of_failure(failure: Failure | None) -> Refusal:
    """The engine ended the request with an error."""
    return INTERNAL if failure is None else OF_CAUSE[failure.cause]


def error_frame(
    request_id: str, refusal: Refusal, *, usage: Usage | None = None, available_tokens: int | None = None
) -> InferenceError:
    """Make the terminal frame; `usage` is what the failed attempt used, `available_tokens` is written even when 0."""
    return InferenceError(
        request_id=request_id,
        error=failure_text(refusal.code),
        status_code=refusal.status,
        error_reason=refusal.reason,
        failure_code=refusal.code,
        terminal_cause=refusal.cause,
        rejection_reason=refusal.rejection,
        attempt_usage=usage,
        available_token_budget=available_tokens,
    )
