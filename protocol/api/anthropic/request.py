"""A Messages body read, checked and lowered to the one internal request.

Invariant: numbers keep every digit; a body that cannot be lowered whole is refused, never half understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.api.anthropic.blocks import MessageLowering, bad
from protocol.api.anthropic.options import lower_options, lower_stops
from protocol.api.anthropic.tools import lower_tool_choice, lower_tools
from protocol.api.chat_request import ChatRequest, parse_chat_request
from protocol.api.exact_json import encode_exact
from protocol.api.opened import MAX_BODY_BYTES, open_body
from protocol.api.parameters import check_forced_stops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MEMBER_NAMES: Final[Mapping[str, str]] = {"response_format": "output_config.format"}
"""What this dialect calls the members that a later check may blame; see `renamed`."""


class LoweredMessages(NamedTuple):
    """The internal request, and what its answer must know of the body."""

    chat: ChatRequest
    stop_sequences: tuple[str, ...]


def lower_messages(
    body: bytes,
    *,
    check_model: Callable[[str], None] | None = None,
    limit_bytes: int = MAX_BODY_BYTES,
) -> LoweredMessages:
    """Read a body of `POST /v1/messages` or of its token count.

    `max_tokens` may be absent. `check_model` is called with the name as sent; it may raise ApiError. Raises ApiError:
    413 above `limit_bytes`, 400 whose message and `param` name the member or block for all else.
    """
    _, values, model = open_body(body, check_model=check_model, limit_bytes=limit_bytes)
    conversation = MessageLowering()
    conversation.system(values.get("system"))
    tools = lower_tools(values.get("tools"))
    stops = lower_stops(values.get("stop_sequences"))
    lowered: dict[str, object] = {"model": model, "messages": conversation.messages(values.get("messages"))}
    if tools:
        lowered["tools"] = tools
    lowered |= lower_tool_choice(values.get("tool_choice"), tools)
    if stops:
        lowered["stop"] = stops
    lowered |= lower_options(values)
    if lowered.get("tool_choice", "auto") not in ("auto", "none"):
        check_forced_stops(stops, "stop_sequences")
        if "response_format" in lowered:
            raise bad("output_config.format", "cannot be combined with a forced tool; drop one of them")
    lowered["stream"] = values.get("stream") is True
    chat = parse_chat_request(encode_exact(lowered), limit_bytes=limit_bytes)
    return LoweredMessages(chat, tuple(stops))
