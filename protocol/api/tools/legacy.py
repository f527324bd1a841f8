"""`functions` and `function_call`, the older words for tools, lowered to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.errors import invalid_request
from protocol.api.exact_json import decode_exact
from protocol.api.tools.schema import encoded, read_items, read_members

if TYPE_CHECKING:
    from protocol.api.tools.schema import Members

_CALL: Final = "call_legacy_"


def lower_legacy(fields: Members) -> None:
    """Replace the older members, in place; what says the same twice is refused. Raises ApiError 400."""
    functions = fields.pop("functions", None)
    call = fields.pop("function_call", None)
    if functions is not None and bytes(functions) != b"null":
        if "tools" in fields:
            raise invalid_request("functions and tools cannot be combined; use tools.", param="functions")
        listed = read_items(functions)
        if listed is None:
            raise invalid_request("functions must be an array.", param="functions")
        fields["tools"] = encoded([{"type": "function", "function": function} for function in listed])
    if call is not None and bytes(call) != b"null":
        if "tool_choice" in fields:
            raise invalid_request("function_call and tool_choice cannot be combined.", param="function_call")
        fields["tool_choice"] = _choice(call)
    if "messages" in fields and b'"function' in bytes(fields["messages"]):
        _lower_history(fields)


def _choice(call: msgspec.Raw) -> msgspec.Raw:
    value = decode_exact(call)
    if value in ("auto", "none"):
        return call
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return encoded({"type": "function", "function": {"name": value["name"]}})
    raise invalid_request('function_call must be "auto", "none" or {"name": …}.', param="function_call")


def _lower_history(fields: Members) -> None:
    """Turn calls and results of the conversation into those of tools; each result answers the newest call."""
    messages = read_items(fields["messages"])
    if messages is None:
        return
    calls = 0
    for index, raw in enumerate(messages):
        message = read_members(raw)
        role = decode_exact(message["role"]) if "role" in message else None
        made = message.get("function_call")
        if role == "assistant" and made is not None and bytes(made) != b"null" and "tool_calls" not in message:
            calls += 1
            one = {"id": f"{_CALL}{calls}", "type": "function", "function": made}
            del message["function_call"]
            messages[index] = encoded(message | {"tool_calls": encoded([one])})
        elif role == "function":
            answered = {"role": encoded("tool"), "tool_call_id": encoded(f"{_CALL}{calls}")}
            messages[index] = encoded(message | answered)
    fields["messages"] = encoded(messages)
