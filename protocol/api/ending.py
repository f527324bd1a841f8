"""How an answer ends: usage, finish reason, and the provider's signature."""

from __future__ import annotations

from typing import Final

import msgspec

from protocol.api.chunk import FINISH_REASONS

MAX_SIGNATURE_CHARACTERS: Final = 4096


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts of the provider's completion message, which alone are authoritative."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    def as_json(self, *, reasoned: bool) -> dict[str, object]:
        """The public `usage` object; details only when they are not zero.

        Older providers reason without counting it: then all completion tokens count as reasoning. A count that
        contradicts its total is cut to it.
        """
        reasoning = self.reasoning_tokens if self.reasoning_tokens > 0 else (self.completion_tokens if reasoned else 0)
        usage: dict[str, object] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        if 0 < self.cached_tokens <= self.prompt_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if reasoning > 0:
            usage["completion_tokens_details"] = {"reasoning_tokens": min(reasoning, self.completion_tokens)}
        return usage


def finish_reason(
    reported: str | None,
    *,
    completion_tokens: int,
    requested_max: int,
    has_tool_calls: bool,
    stopped_by_caller: bool = False,
) -> str:
    """The reason a client sees. Engines report `stop` for everything, so only other known reasons are believed.

    `stopped_by_caller` (a stop string of the caller matched) outranks the comparison with the bound, which misfires
    when a natural stop lands on it.
    """
    if reported is not None and reported != "stop" and reported in FINISH_REASONS:
        return reported
    if not stopped_by_caller and completion_tokens >= requested_max > 0:
        return "length"
    return "tool_calls" if has_tool_calls else "stop"


def signature_members(response_hash: str | None, se_signature: str | None) -> dict[str, object]:
    """`se_signature` and `response_hash` of a signed answer; empty without a signature, or if one is absurdly long."""
    if not se_signature or len(se_signature) > MAX_SIGNATURE_CHARACTERS:
        return {}
    members: dict[str, object] = {"se_signature": se_signature}
    if response_hash and len(response_hash) <= MAX_SIGNATURE_CHARACTERS:
        members["response_hash"] = response_hash
    return members
