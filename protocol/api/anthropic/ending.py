"""How a message ends: its stop reason and its usage, in Anthropic's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.api.ending import UsageReport

THINKING_SIGNATURE_PREFIX: Final = "darkbloom-"

_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def stop_members(reason: str, matched: str | None, listed: Sequence[str]) -> dict[str, object]:
    """`stop_reason` and `stop_sequence` for a chat finish reason.

    The stop string that a provider reports counts only if the caller listed it and nothing else ended the answer.
    """
    if matched is not None and matched in listed and reason in ("stop", "tool_calls"):
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    return {"stop_reason": _REASONS.get(reason, "end_turn"), "stop_sequence": None}


def usage_members(usage: UsageReport, *, reasoned: bool) -> dict[str, object]:
    """`usage`: prompt tokens that came from a cache are counted apart; details only when they are not zero."""
    cached = usage.cached_tokens if 0 < usage.cached_tokens <= usage.prompt_tokens else 0
    members: dict[str, object] = {
        "input_tokens": usage.prompt_tokens - cached,
        "output_tokens": usage.completion_tokens,
    }
    if cached:
        members["cache_read_input_tokens"] = cached
    thinking = usage.reasoning_tokens or (usage.completion_tokens if reasoned else 0)
    if thinking > 0:
        members["output_tokens_details"] = {"thinking_tokens": min(thinking, usage.completion_tokens)}
    return members


def thinking_signature(job_hex: str) -> str:
    """What stands for a signature of a thinking block: opaque, not empty, since clients drop unsigned thinking."""
    return THINKING_SIGNATURE_PREFIX + job_hex
