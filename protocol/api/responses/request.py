"""A request of the Responses API: checked in the public order and lowered to a chat completion request.

Invariant: no state is kept, so a request that refers to earlier state is refused instead of losing its context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from protocol.api import parameters
from protocol.api.chat_request import MAX_BODY_BYTES, parse_chat_request
from protocol.api.errors import ApiError, invalid_request, payload_too_large
from protocol.api.exact_json import decode_exact, split_object
from protocol.api.responses.echo import echo_of
from protocol.api.responses.items import lower_input
from protocol.api.responses.tools import lower_choice, lower_text, lower_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.api.chat_request import ChatRequest

LOGPROBS: Final = "message.output_text.logprobs"

_STATE: Final = ("previous_response_id", "conversation", "prompt")
_CONSUMED: Final = frozenset(
    {
        *parameters.BOUND_FIELDS,
        *_STATE,
        "background",
        "include",
        "input",
        "instructions",
        "max_tool_calls",
        "messages",
        "metadata",
        "reasoning",
        "response_format",
        "service_tier",
        "store",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)
"""Members that mean something to this dialect alone, or are written anew; all others are forwarded as they are."""

_EXACT: Final = msgspec.json.Encoder(decimal_format="number")


class ResponsesRequest(NamedTuple):
    """The chat request to route, and what the response object repeats of the original."""

    chat: ChatRequest
    echo: Mapping[str, object]


def parse_responses_request(
    body: bytes, *, check_model: Callable[[str], None] | None = None, limit_bytes: int = MAX_BODY_BYTES
) -> ResponsesRequest:
    """Read, check and lower a body; see `parse_chat_request` for the arguments.

    Raises ApiError: 413 above `limit_bytes`, 400 with the `param` of this dialect for all else.
    """
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    fields = split_object(body)
    values = {name: decode_exact(raw) for name, raw in fields.items()}
    model = values.get("model")
    if not isinstance(model, str) or not model.strip():
        raise invalid_request("model must be a non-empty string.", param="model")
    if check_model is not None:
        check_model(model)
    bound = parameters.output_bound(values)
    _check_stateless(values)
    lowered = _lower(fields, values, bound)
    try:
        chat = parse_chat_request(_EXACT.encode(lowered), limit_bytes=limit_bytes)
    except ApiError as error:
        raise _renamed(error) from None
    return ResponsesRequest(chat, echo_of(values))


def _check_stateless(values: Mapping[str, object]) -> None:
    for name in _STATE:
        if values.get(name) is not None:
            raise invalid_request(
                f"{name} is not supported: nothing is stored here. Send the whole conversation as input.", param=name
            )
    if values.get("background") not in (None, False):
        raise invalid_request("background must be false: a response is answered at once.", param="background")


def _lower(fields: Mapping[str, msgspec.Raw], values: Mapping[str, object], bound: int | None) -> dict[str, object]:
    lowered: dict[str, object] = {name: raw for name, raw in fields.items() if name not in _CONSUMED}
    lowered["messages"] = lower_input(values.get("input"), values.get("instructions"))
    if bound is not None:
        lowered["max_tokens"] = bound
    lowered |= _lower_reasoning(fields, values)
    tools = lower_tools(values.get("tools"))
    choice, tools = lower_choice(values.get("tool_choice"), tools)
    if tools:
        lowered["tools"] = tools
    if choice is not None:
        lowered["tool_choice"] = choice
    wanted = lower_text(values.get("text"))
    if wanted is not None:
        lowered["response_format"] = wanted
    if _wants_logprobs(values):
        lowered["logprobs"] = True
    return lowered


def _lower_reasoning(fields: Mapping[str, msgspec.Raw], values: Mapping[str, object]) -> dict[str, object]:
    reasoning = values.get("reasoning")
    if reasoning is None:
        return {}
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    if not isinstance(reasoning, dict) or not isinstance(effort, str | None):
        raise invalid_request("reasoning must be an object, and its effort a string.", param="reasoning")
    found: dict[str, object] = {"reasoning": fields["reasoning"]}
    if effort is not None and "reasoning_effort" not in fields:
        found["reasoning_effort"] = effort
    return found


def _wants_logprobs(values: Mapping[str, object]) -> bool:
    include = values.get("include")
    if include is None:
        return bool(values.get("top_logprobs"))
    if not isinstance(include, list) or not all(isinstance(name, str) for name in include):
        raise invalid_request("include must be an array of strings.", param="include")
    return LOGPROBS in include or bool(values.get("top_logprobs"))


def _renamed(error: ApiError) -> ApiError:
    """The error with the `param` that the caller knows."""
    param = error.param
    if param == "messages":
        error.param = "input"
    elif param == "response_format":
        error.param = "text.format"
    elif param is not None and param.startswith("tools["):
        error.param = param.replace(".function", "")
    return error
