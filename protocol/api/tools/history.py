"""The tool calls and results of a conversation: a result belongs to a call that was made before it."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.api.errors import ApiError, invalid_request


def check_history(messages: Iterable[object]) -> None:
    """Raise ApiError 400 for a result of a call that nobody made, and for arguments that are no string."""
    issued: set[str] = set()
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        match message.get("role"):
            case "assistant":
                issued |= _issued(message.get("tool_calls"), index)
            case "tool":
                call_id = message.get("tool_call_id")
                if not isinstance(call_id, str) or not call_id:
                    raise _wrong(index, "needs tool_call_id, the id of the call that it answers")
                if call_id not in issued:
                    raise _wrong(index, "answers a tool call that no earlier message of the assistant made")


def _issued(calls: object, index: int) -> set[str]:
    if calls is None:
        return set()
    if not isinstance(calls, list):
        raise _wrong(index, "has tool_calls that are no array")
    found: set[str] = set()
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise _wrong(index, "has a tool call without a function")
        if not isinstance(function.get("arguments"), str):
            raise _wrong(index, "has a tool call whose arguments are not a string that holds JSON")
        call_id = call.get("id")
        if isinstance(call_id, str):
            found.add(call_id)
    return found


def _wrong(index: int, what: str) -> ApiError:
    return invalid_request(f"The message at messages[{index}] {what}.", param="messages")
