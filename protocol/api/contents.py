"""What the messages of a chat request say: text, or parts; null only where a message says something else instead.

A refusal in the history is what the assistant said, so it reaches the model as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from protocol.api.errors import ApiError, invalid_request
from protocol.api.exact_json import decode_exact
from protocol.api.media import MEDIA_PARTS
from protocol.api.tools.schema import encoded, read_items, read_members

if TYPE_CHECKING:
    import msgspec

    from protocol.api.tools.schema import Members

_REFUSAL: Final = "refusal"
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
_CALLS: Final = ("tool_calls", "function_call")
_SAID_OTHERWISE: Final = (_REFUSAL, "reasoning_content", "reasoning")
"""Members of an assistant's message that may stand in the place of its content, as calls may."""
_NULL: Final = b"null"
_NOTHING: Final = (_NULL, b'""', b"[]")


def check_contents(messages: Sequence[object]) -> bool:
    """Raise ApiError 400 with the place of what no model could read; True if `lower_contents` has something to do.

    Roles are not judged, and media parts only recognised.
    """
    to_lower = False
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        if message.get(_REFUSAL):
            _check_text(message[_REFUSAL], f"messages[{index}].{_REFUSAL}")
            to_lower = True
        content = message.get("content")
        if isinstance(content, str):
            continue
        place = f"messages[{index}].content"
        if isinstance(content, list):
            to_lower = _check_parts(content, place) or to_lower
        elif content is not None or message.get("role") != "assistant":
            raise _must(place, "be a string or an array of parts")
        elif all(message.get(name) in (None, []) for name in _CALLS):
            if not any(message.get(name) for name in _SAID_OTHERWISE):
                raise _must(place, "be a string or an array of parts in a message without tool calls")
            to_lower = True
    return to_lower


def _check_parts(parts: Sequence[object], place: str) -> bool:
    """Check the parts of one message; True if there is a refusal among them."""
    refusals = False
    for index, part in enumerate(parts):
        at = f"{place}[{index}]"
        if not isinstance(part, dict):
            raise _must(at, "be an object with a type")
        kind = part.get("type")
        if kind == _REFUSAL:
            _check_text(part.get(_REFUSAL), f"{at}.{_REFUSAL}")
            refusals = True
        elif not isinstance(kind, str) or kind not in MEDIA_PARTS:
            if not isinstance(kind, str) or kind not in _TEXT_PARTS:
                raise _must(f"{at}.type", "be text, image_url or video_url, or refusal in what the assistant said")
            _check_text(part.get("text"), f"{at}.text")
    return refusals


def _check_text(value: object, place: str) -> None:
    if not isinstance(value, str):
        raise _must(place, "be a string")


def _must(place: str, rule: str) -> ApiError:
    return invalid_request(f"{place} must {rule}.", param=place)


def lower_contents(fields: Members) -> None:
    """Write refusals of checked messages as text, in place; all other values keep the bytes that were sent."""
    fields["messages"] = encoded([_lowered(message) for message in read_items(fields["messages"]) or ()])


def _lowered(raw: msgspec.Raw) -> msgspec.Raw:
    message = read_members(raw)
    parts = read_items(message["content"]) if "content" in message else None
    if parts is not None:
        message["content"] = encoded([_as_text(part) for part in parts])
    content = bytes(message.get("content", _NULL))
    if content in _NOTHING and bytes(message.get(_REFUSAL, _NULL)).startswith(b'"'):
        message["content"] = message.pop(_REFUSAL)
    elif content == _NULL:
        message["content"] = encoded("")
    return encoded(message)


def _as_text(part: msgspec.Raw) -> msgspec.Raw:
    members = read_members(part)
    if decode_exact(members["type"]) != _REFUSAL:
        return part
    return encoded({"type": "text", "text": members[_REFUSAL]})
