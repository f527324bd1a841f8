"""The conversations that a chat template must render: what clients send, after our own normalisation."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from provider.requests.messages import normalise_messages
from provider.requests.tool_schema import normalise_tools

_SYSTEM: Final = {"role": "system", "content": "You are a helpful assistant."}
_USER: Final = {"role": "user", "content": "Hello."}
_FRAMED: Final = {
    "role": "assistant",
    "content": "<|channel|>analysis<|message|>Thinking.<|end|><|start|>assistant<|channel|>final<|message|>Hi.",
}
_CALL: Final = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_0",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Paris", "days": 2}},
        }
    ],
}
_REPLY: Final = {"role": "tool", "tool_call_id": "call_0", "name": "get_weather", "content": '{"sky": "clear"}'}
_PARAMETERS: Final = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Name of a city."},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "place": {"type": "object", "properties": {"country": {"type": "string"}}, "required": ["country"]},
        "hours": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["city"],
}
_NULLS: Final = {
    "type": "object",
    "properties": {
        "city": {"description": "A leaf without a type.", "default": None},
        "unit": {"type": ["string", "null"], "enum": ["celsius", None]},
    },
}


class Case(msgspec.Struct, frozen=True):
    """One conversation. `may_refuse`: the template may say, with `raise_exception`, that it does not take this."""

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    may_refuse: bool = True


def text_cases() -> tuple[Case, ...]:
    """Build the cases for every model."""
    plain: tuple[tuple[list[Mapping[str, Any]], bool], ...] = (
        ([_USER], False),
        ([_SYSTEM, _USER], True),
        ([_USER, _FRAMED, _USER], True),
        ([_USER, {"role": "assistant", "content": ""}, _USER], True),
        ([_USER, {"role": "assistant", "content": ""}], True),
    )
    tooled: list[Mapping[str, Any]] = [_SYSTEM, _USER, _CALL, _REPLY, _USER]
    return (
        *(Case(normalise_messages(messages), may_refuse=may_refuse) for messages, may_refuse in plain),
        *(Case(normalise_messages(tooled), normalise_tools([_tool(schema)])) for schema in (_PARAMETERS, _NULLS)),
    )


def vision_cases() -> tuple[Case, ...]:
    """Build the further cases for models that see."""
    parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    film = [{"type": "video"}, {"type": "text", "text": "What happens?"}]
    return tuple(Case(({"role": "user", "content": content},)) for content in (parts, film))


def _tool(parameters: Mapping[str, object]) -> dict[str, object]:
    function = {"name": "get_weather", "description": "Look up the weather.", "parameters": parameters}
    return {"type": "function", "function": function}
