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


def lower_legacy(fields: Members) -> bool:
    """Replace the older members, in place; False if there are none.

    Raises ApiError 400, also for what says the same twice.
    """
    functions = fields.pop("functions", None)
    call = fields.pop("function_call", None)
    changed = functions is not None or call is not None
    if _given(functions):
        if _given(fields.get("tools")):
            raise invalid_request("functions and tools cannot be combined; use tools.", param="functions")
        listed = read_items(functions) if functions is not None else None
        if listed is None:
            raise invalid_request("functions must be an array.", param="functions")
        fields["tools"] = encoded([{"type": "function", "function": function} for function in listed])
    if call is not None and _given(call):
        if _given(fields.get("tool_choice")):
            raise invalid_request("function_call and tool_choice cannot be combined.", param="function_call")
        fields["tool_choice"] = _choice(call)
    return _lower_history(fields) or changed


def _given(raw: msgspec.Raw | None) -> bool:
    """The member is there, and not null."""
    return raw is not None and bytes(raw) != b"null"


def _choice(call: msgspec.Raw) -> msgspec.Raw:
    value = decode_exact(call)
    if value in ("auto", "none"):
        return call
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return encoded({"type": "function", "function": {"name": value["name"]}})
    raise invalid_request('function_call must be "auto", "none" or {"name": …}.', param="function_call")


def _lower_history(fields: Members) -> bool:
    """Turn calls and results of the conversation into those of tools; each result answers the newest call."""
    raw = bytes(fields["messages"])
    messages = read_items(fields["messages"]) if b'"function_call"' in raw or b'"function"' in raw else None
    if messages is None:
        return False
    calls = 0
    changed = False
    for index, one_message in enumerate(messages):
        message = read_members(one_message)
        role = decode_exact(message["role"]) if "role" in message else None
        made = message.get("function_call")
        if role == "assistant" and made is not None and _given(made) and not _given(message.get("tool_calls")):
            calls += 1
            one = {"id": f"{_CALL}{calls}", "type": "function", "function": made}
            del message["function_call"]
            messages[index] = encoded(message | {"tool_calls": encoded([one])})
            changed = True
        elif role == "function":
            answered = {"role": encoded("tool"), "tool_call_id": encoded(f"{_CALL}{calls}")}
            messages[index] = encoded(message | answered)
            changed = True
    if changed:
        fields["messages"] = encoded(messages)
    return changed
