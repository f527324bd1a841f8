"""What a failed local request says to its client; pure."""

from typing import Final

from protocol.api.errors import ApiError, internal_error, invalid_request, rate_limited
from protocol.failure import AttemptFailure

BUSY_RETRY_SECONDS: Final = 2.0
DRAINING_RETRY_SECONDS: Final = 30.0


def api_error(failure: AttemptFailure, *, model: str) -> ApiError:
    """Choose status and code; the texts are ours, because here the owner of the machine asks."""
    match failure.code:
        case "invalid_request" | "invalid_media" | "media_too_large" | "unsupported_media":
            return invalid_request(f"{failure.text[:-1]}; check roles, parameters and content.", status=failure.status)
        case "template_render":
            return invalid_request(failure.text, code=failure.reason or None)
        case "model_unavailable":
            return ApiError(404, "model_not_found", f"The model {model!r} is not offered here.", param="model")
        case "capacity":
            return _no_room(failure)
        case "cancelled":
            return ApiError(499, "cancelled", failure.text)
        case _ if failure.reason == "tool_noncompliance":
            return invalid_request(
                "The model did not call the tool, or did not keep the schema, that the request demands.",
                code="tool_noncompliance",
                status=422,
            )
        case _:
            return internal_error()


def _no_room(failure: AttemptFailure) -> ApiError:
    match failure.reason:
        case "request_exceeds_context":
            return invalid_request(
                "The prompt is longer than the model's context; shorten it.", code="context_length_exceeded"
            )
        case "draining":
            return ApiError(
                503,
                "draining",
                "This provider is stopping or outside its schedule; see `darkbloom status`.",
                retry_after_seconds=DRAINING_RETRY_SECONDS,
            )
        case "request_exceeds_node_budget" | "request_exceeds_node":
            return invalid_request(
                "Prompt and max_tokens together need more memory than this machine has; ask for fewer tokens.",
                code="request_exceeds_node_budget",
            )
        case "model_load":
            return ApiError(
                503,
                "model_load_failed",
                "The model cannot be loaded now; `darkbloom status` names the reason.",
                retry_after_seconds=BUSY_RETRY_SECONDS,
            )
        case _:
            return rate_limited(
                "This machine has no room for the request now; try again.",
                retry_after_seconds=BUSY_RETRY_SECONDS,
                reason=failure.reason or None,
            )
