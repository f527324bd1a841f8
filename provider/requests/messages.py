"""Chat messages as templates expect them: known roles, text content, decoded tool calls; pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from provider.requests.refusal import INVALID, NO_MEDIA, RequestRefused

ROLES: Final = frozenset({"system", "user", "assistant", "tool"})
_RENAMED: Final = {"developer": "system"}
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_HARMONY_MARK: Final = "<|channel|>"
_HARMONY_FINAL: Final = "<|channel|>final"
_HARMONY_MESSAGE: Final = "<|message|>"
_HARMONY_ENDS: Final = ("<|end|>", "<|return|>", "<|call|>", "<|start|>", _HARMONY_MARK)


def normalise_messages(messages: Sequence[Mapping[str, Any]]) -> tuple[dict[str, object], ...]:
    """Fix what has one meaning and refuse the rest with `RequestRefused`."""
    if not messages:
        raise RequestRefused(INVALID)
    return tuple(_message(message) for message in messages)


def _message(message: Mapping[str, Any]) -> dict[str, object]:
    written = message.get("role")
    role = _RENAMED.get(written, written) if isinstance(written, str) else None
    if role not in ROLES:
        raise RequestRefused(INVALID)
    calls = message.get("tool_calls")
    fixed: dict[str, object] = {name: value for name, value in message.items() if value is not None}
    fixed["role"] = role
    fixed["content"] = _content(message.get("content"), may_be_absent=role == "assistant" and bool(calls))
    if role == "assistant":
        fixed["content"] = without_harmony(cast(str, fixed["content"]))
        if calls is not None:
            fixed["tool_calls"] = _tool_calls(calls)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise RequestRefused(INVALID)
    return fixed


def _content(content: object, *, may_be_absent: bool) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part(part) for part in content)
    if content is None and may_be_absent:
        return ""
    raise RequestRefused(INVALID)


def _part(part: object) -> str:
    if not isinstance(part, dict):
        raise RequestRefused(INVALID)
    if part.get("type") not in _TEXT_PARTS:
        raise RequestRefused(NO_MEDIA if isinstance(part.get("type"), str) else INVALID)
    text = part.get("text")
    if not isinstance(text, str):
        raise RequestRefused(INVALID)
    return text


def _tool_calls(calls: object) -> list[dict[str, object]]:
    """Calls of the history; templates want arguments as an object, clients send them as JSON text."""
    if not isinstance(calls, list):
        raise RequestRefused(INVALID)
    fixed: list[dict[str, object]] = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestRefused(INVALID)
        fixed.append({**call, "function": {**function, "arguments": _arguments(function.get("arguments"))}})
    return fixed


def _arguments(arguments: object) -> object:
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        decoded = json.loads(arguments) if arguments.strip() else {}
    except (ValueError, RecursionError):
        return arguments
    return decoded if isinstance(decoded, dict) else arguments


def without_harmony(text: str) -> str:
    """Keep the final channel's text of an assistant turn in raw Harmony framing; other text stays as it is."""
    if _HARMONY_MARK not in text:
        return text
    begin = text.rfind(_HARMONY_FINAL)
    message = text.find(_HARMONY_MESSAGE, begin) if begin >= 0 else -1
    if message < 0:
        return ""
    final = text[message + len(_HARMONY_MESSAGE) :]
    ends = [place for mark in _HARMONY_ENDS if (place := final.find(mark)) >= 0]
    return final[: min(ends)] if ends else final
