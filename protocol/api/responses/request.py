"""A request of the Responses API: checked in the public order and lowered to a chat completion request.

Invariant: no state is kept, so a request that refers to earlier state is refused instead of losing its context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.api import parameters
from protocol.api.chat_request import parse_chat_request
from protocol.api.errors import ApiError, invalid_request, renamed
from protocol.api.exact_json import encode_exact
from protocol.api.opened import MAX_BODY_BYTES, open_body
from protocol.api.responses.echo import echo_of
from protocol.api.responses.items import lower_input
from protocol.api.responses.tools import lower_choice, lower_text, lower_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import msgspec

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

MEMBER_NAMES: Final[Mapping[str, str]] = {
    "messages": "input",
    "response_format": "text.format",
    "logprobs": "include",
}
"""What this dialect calls the members that a later check may blame; see `renamed`."""


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
    fields, values, _ = open_body(body, check_model=check_model, limit_bytes=limit_bytes)
    bound = parameters.output_bound(values)
    _check_stateless(values)
    lowered = _lower(fields, values, bound)
    try:
        chat = parse_chat_request(encode_exact(lowered), limit_bytes=limit_bytes)
    except ApiError as error:
        if error.param is not None and error.param.startswith("tools["):
            error.param = error.param.replace(".function", "")
        raise renamed(error, MEMBER_NAMES) from None
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
