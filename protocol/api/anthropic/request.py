"""A Messages body read, checked and lowered to the one internal request.

Invariant: numbers keep every digit; a body that cannot be lowered whole is refused, never half understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from protocol.api.anthropic.blocks import MessageLowering
from protocol.api.anthropic.options import lower_options, lower_stops
from protocol.api.anthropic.tools import lower_tool_choice, lower_tools
from protocol.api.chat_request import MAX_BODY_BYTES, ChatRequest, parse_chat_request
from protocol.api.errors import invalid_request, payload_too_large
from protocol.api.exact_json import decode_exact, split_object

if TYPE_CHECKING:
    from collections.abc import Callable

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


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
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    values = {name: decode_exact(raw) for name, raw in split_object(body).items()}
    model = values.get("model")
    if not isinstance(model, str) or not model.strip():
        raise invalid_request("model must be a non-empty string.", param="model")
    if check_model is not None:
        check_model(model)
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
    lowered["stream"] = values.get("stream") is True
    chat = parse_chat_request(_ENCODER.encode(lowered), limit_bytes=limit_bytes)
    return LoweredMessages(chat, tuple(stops))
