"""Input of the Responses API, lowered to chat messages.

Invariant: items keep their order; a message of the assistant and the calls right behind it are one turn.
"""

from __future__ import annotations

from typing import Final

from protocol.api.errors import invalid_request
from protocol.api.responses.parts import lower_content, lower_output

_ROLES: Final = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
_CALL_ID_NAMES: Final = ("tool_call_id", "call_id")


def lower_input(value: object, instructions: object) -> list[dict[str, object]]:
    """The messages for `input` and `instructions`; raises ApiError 400 with the place of the fault as its `param`."""
    messages: list[dict[str, object]] = []
    if not isinstance(instructions, str | None):
        raise invalid_request("instructions must be a string.", param="instructions")
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(value, str):
        return [*messages, {"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise invalid_request(
            "input must be a string or a non-empty array of items; messages belong to /v1/chat/completions.",
            param="input",
        )
    turns: list[dict[str, object]] = []
    issued: set[str] = set()
    for index, item in enumerate(value):
        _lower_item(item, f"input[{index}]", turns, issued)
    if not turns:
        raise invalid_request("input holds nothing that a model reads; send a message.", param="input")
    return messages + turns


def _lower_item(item: object, place: str, turns: list[dict[str, object]], issued: set[str]) -> None:
    """Add an item to the turns; `issued` are the ids of the calls that were made before it."""
    if not isinstance(item, dict):
        raise invalid_request("An input item must be an object.", param=place)
    kind = item.get("type")
    if kind == "message" or (kind is None and "role" in item):
        turns.append(_lower_message(item, place, issued))
    elif kind == "function_call":
        call = _lower_call(item, place)
        issued.add(str(call["id"]))
        _add_call(call, turns)
    elif kind == "function_call_output":
        content = lower_output(item.get("output"), place)
        call_id = _answered(item, "call_id", place, issued)
        turns.append({"role": "tool", "tool_call_id": call_id, "content": content})
    elif kind != "reasoning":  # what a model thought in an earlier turn is not repeated to it
        raise invalid_request(
            "This input item is not supported; send messages, function calls and their outputs in full.",
            param=f"{place}.type",
        )


def _lower_message(item: dict[str, object], place: str, issued: set[str]) -> dict[str, object]:
    given = item.get("role", "user")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise invalid_request("role must be user, assistant, system or developer.", param=f"{place}.role")
    message: dict[str, object] = {"role": role, "content": lower_content(item.get("content"), place)}
    if role == "tool":
        given_name = next((name for name in _CALL_ID_NAMES if isinstance(item.get(name), str)), _CALL_ID_NAMES[0])
        message["tool_call_id"] = _answered(item, given_name, place, issued)
    return message


def _lower_call(item: dict[str, object], place: str) -> dict[str, object]:
    call_id = item.get("call_id") or item.get("id")
    arguments = item.get("arguments")
    if arguments is None:
        arguments = "{}"
    if not isinstance(arguments, str):
        raise invalid_request("arguments must be a string that holds JSON.", param=f"{place}.arguments")
    name = _name(item.get("name"), "name", place)
    return {
        "id": _name(call_id, "call_id", place),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def _add_call(call: dict[str, object], turns: list[dict[str, object]]) -> None:
    """Add a call to the assistant's turn that it belongs to, or open that turn."""
    last = turns[-1] if turns else None
    if last is None or last["role"] != "assistant":
        turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        return
    calls = last.setdefault("tool_calls", [])
    if isinstance(calls, list):
        calls.append(call)


def _answered(item: dict[str, object], member: str, place: str, issued: set[str]) -> str:
    """The id of the call that an item answers."""
    call_id = _name(item.get(member), member, place)
    if call_id not in issued:
        raise invalid_request(
            f"{place} answers a call that no item before it made; send the function_call item too.",
            param=f"{place}.{member}",
        )
    return call_id


def _name(value: object, member: str, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise invalid_request(f"{member} must be a non-empty string.", param=f"{place}.{member}")
    return value
