"""The response object: what it echoes of the request, how it stands, what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import msgspec

from protocol.api.ending import finish_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.api.ending import UsageReport
    from protocol.api.errors import ApiError
    from protocol.api.shapes import AnswerFacts

ResponseStatus: TypeAlias = Literal["in_progress", "completed", "incomplete", "failed"]

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_EMPTY: Final = msgspec.Raw(b"[]")


class Ending(NamedTuple):
    """How an answer ended: `reason` says why it is incomplete."""

    status: Literal["completed", "incomplete"]
    reason: str | None


def ending_of(
    reported: str | None, usage: UsageReport, *, requested_max: int, has_calls: bool, stop_sequence: str | None
) -> Ending:
    """The status for a finish reason, which is judged as for chat completions."""
    reason = finish_reason(
        reported,
        completion_tokens=usage.completion_tokens,
        requested_max=requested_max,
        has_tool_calls=has_calls,
        stopped_by_caller=stop_sequence is not None,
    )
    cut = _INCOMPLETE.get(reason)
    return Ending("completed" if cut is None else "incomplete", cut)


def usage_json(usage: UsageReport, *, reasoned: bool) -> dict[str, object]:
    """The `usage` member: all counts and both details, also when they are 0."""
    counted = usage.as_json(reasoned=reasoned)
    prompt, completion = counted.get("prompt_tokens_details"), counted.get("completion_tokens_details")
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": prompt["cached_tokens"] if isinstance(prompt, dict) else 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {
            "reasoning_tokens": completion["reasoning_tokens"] if isinstance(completion, dict) else 0
        },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def failure_json(error: ApiError) -> dict[str, object]:
    """The `error` member of a failed response; its codes are a closed set."""
    code = "rate_limit_exceeded" if error.status == 429 else "server_error"
    return {"code": code, "message": error.message}


class Snapshot:
    """Makes the response object of one answer, from its first state to its last. `echo` comes from the request."""

    def __init__(self, facts: AnswerFacts, echo: Mapping[str, object]) -> None:
        self._facts = facts
        self._echo = echo

    def members(
        self,
        status: ResponseStatus,
        *,
        output: msgspec.Raw = _EMPTY,
        usage: Mapping[str, object] | None = None,
        incomplete_reason: str | None = None,
        error: Mapping[str, object] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """The whole object; every member that may be null is there."""
        return {
            "id": f"resp_{self._facts.job_hex}",
            "object": "response",
            "created_at": self._facts.created,
            "status": status,
            "background": False,
            "error": error,
            "incomplete_details": None if incomplete_reason is None else {"reason": incomplete_reason},
            "model": self._facts.public_model,
            "output": output,
            "previous_response_id": None,
            "service_tier": None,
            "store": False,
            "truncation": "disabled",
            **self._echo,
            "usage": usage,
            **(more or {}),
        }
