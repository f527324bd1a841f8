"""Messages and their content blocks, lowered to chat messages in the same order.

What cannot be said in chat is refused with the path of the block, never dropped silently; only markers that change
nothing (`cache_control`, citations, redacted thinking) are left out.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from protocol.api.errors import ApiError, invalid_request
from protocol.api.exact_json import encode_exact

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


class MessageLowering:
    """Lowers the turns of one conversation; knows which tool calls were made so far."""

    def __init__(self) -> None:
        self._issued: set[str] = set()
        self._lowered: list[dict[str, object]] = []

    def system(self, value: object) -> None:
        """Lower the top-level `system`: text, or text blocks joined by line ends; empty adds nothing."""
        text = _only_text(value, "system", joint="\n") if value is not None else ""
        if text:
            self._lowered.append({"role": "system", "content": text})

    def messages(self, value: object) -> list[dict[str, object]]:
        """Lower `messages` and give the whole conversation; raises ApiError 400."""
        if not isinstance(value, list) or not value:
            raise invalid_request("messages must be a non-empty array.", param="messages")
        for index, message in enumerate(value):
            path = f"messages[{index}]"
            if not isinstance(message, dict):
                raise bad(path, "must be an object with role and content")
            match message.get("role"):
                case "user":
                    self._user(message.get("content"), f"{path}.content")
                case "assistant":
                    self._assistant(message.get("content"), f"{path}.content")
                case "system":
                    text = _only_text(message.get("content"), f"{path}.content", joint="\n")
                    self._lowered.append({"role": "system", "content": text})
                case _:
                    raise bad(f"{path}.role", 'must be "user", "assistant" or "system"')
        return self._lowered

    def _user(self, content: object, path: str) -> None:
        if isinstance(content, str):
            self._lowered.append({"role": "user", "content": content})
            return
        pending: list[dict[str, object]] = []
        for block, at in _blocks(content, path):
            match block.get("type"):
                case "text":
                    pending.append({"type": "text", "text": _text(block, at)})
                case "image":
                    pending.append(_image(block, at))
                case "document":
                    pending.append({"type": "text", "text": _document(block, at)})
                case "tool_result":
                    self._flush_user(pending)
                    pending = self._tool_result(block, at)
                case kind:
                    raise unsupported(kind, at)
        self._flush_user(pending, keep_empty=not content)

    def _flush_user(self, parts: list[dict[str, object]], *, keep_empty: bool = False) -> None:
        if not parts and not keep_empty:
            return
        if all(part["type"] == "text" for part in parts):
            text = "".join(str(part["text"]) for part in parts)
            self._lowered.append({"role": "user", "content": text})
        else:
            self._lowered.append({"role": "user", "content": parts})

    def _tool_result(self, block: dict[str, object], at: str) -> list[dict[str, object]]:
        """Add a tool message; gives the images of the result, which chat shows in the user turn behind it."""
        call_id = block.get("tool_use_id")
        if not isinstance(call_id, str) or call_id not in self._issued:
            raise bad(f"{at}.tool_use_id", "must be the id of a tool_use block of an earlier assistant message")
        failed = block.get("is_error")
        if not isinstance(failed, bool | None):
            raise bad(f"{at}.is_error", "must be true or false")
        texts: list[str] = []
        images: list[dict[str, object]] = []
        content = block.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif content is not None:
            for inner, inner_at in _blocks(content, f"{at}.content"):
                match inner.get("type"):
                    case "text":
                        texts.append(_text(inner, inner_at))
                    case "image":
                        images.append(_image(inner, inner_at))
                    case "document":
                        texts.append(_document(inner, inner_at))
                    case kind:
                        raise unsupported(kind, inner_at)
        text = "".join(texts)
        if failed and not text:
            text = "error"  # otherwise a failure without a text would look like a success
        self._lowered.append({"role": "tool", "tool_call_id": call_id, "content": text})
        return images

    def _assistant(self, content: object, path: str) -> None:
        if isinstance(content, str):
            self._lowered.append({"role": "assistant", "content": content})
            return
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[dict[str, object]] = []
        for block, at in _blocks(content, path):
            match block.get("type"):
                case "text":
                    texts.append(_text(block, at))
                case "thinking":
                    thoughts.append(_text(block, at, name="thinking"))
                case "redacted_thinking":
                    pass  # another service's secret: nothing that our models could read
                case "tool_use":
                    calls.append(self._tool_use(block, at))
                case kind:
                    raise unsupported(kind, at)
        message: dict[str, object] = {"role": "assistant", "content": "".join(texts)}
        if any(thoughts):
            message["reasoning_content"] = "\n\n".join(thought for thought in thoughts if thought)
        if calls:
            message["tool_calls"] = calls
        self._lowered.append(message)

    def _tool_use(self, block: dict[str, object], at: str) -> dict[str, object]:
        call_id, name, given = block.get("id"), block.get("name"), block.get("input")
        if not isinstance(call_id, str) or not call_id:
            raise bad(f"{at}.id", "must be a non-empty string")
        if call_id in self._issued:
            raise bad(f"{at}.id", "must not repeat the id of an earlier tool_use block")
        if not isinstance(name, str) or not name:
            raise bad(f"{at}.name", "must be a non-empty string")
        if not isinstance(given, dict | None):
            raise bad(f"{at}.input", "must be an object")
        self._issued.add(call_id)
        arguments = encode_exact(given or {}).decode()
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def bad(path: str, rule: str, *, code: str | None = None) -> ApiError:
    """400 that says which member breaks which rule."""
    return invalid_request(f"{path} {rule}.", param=path, code=code)


def unsupported(kind: object, at: str) -> ApiError:
    """400 for a block that has no counterpart here."""
    shown = f"blocks of type {kind[:64]!r} here" if isinstance(kind, str) else "a block without a type"
    return invalid_request(f"{at}: this service does not take {shown}; send text.", param=at)


def _blocks(content: object, path: str) -> Iterator[tuple[dict[str, object], str]]:
    if not isinstance(content, list):
        raise bad(path, "must be a string or an array of content blocks")
    for index, block in enumerate(content):
        at = f"{path}[{index}]"
        if not isinstance(block, dict):
            raise bad(at, "must be an object")
        yield block, at


def _text(block: dict[str, object], at: str, *, name: str = "text") -> str:
    text = block.get(name)
    if not isinstance(text, str):
        raise bad(f"{at}.{name}", "must be a string")
    return text


def _only_text(content: object, path: str, *, joint: str) -> str:
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for block, at in _blocks(content, path):
        if block.get("type") != "text":
            raise unsupported(block.get("type"), at)
        texts.append(_text(block, at))
    return joint.join(texts)


def _image(block: dict[str, object], at: str) -> dict[str, object]:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind != "base64":
        shown = f" (here {kind[:32]!r})" if isinstance(kind, str) else ""
        raise bad(f"{at}.source.type", f'must be "base64"{shown}: images are sent inside the request')
    media_type, data = source.get("media_type"), source.get("data")
    if not isinstance(media_type, str) or media_type not in IMAGE_TYPES:
        raise bad(f"{at}.source.media_type", f"must be one of {', '.join(sorted(IMAGE_TYPES))}")
    if not isinstance(data, str) or not _is_base64(data):
        raise bad(f"{at}.source.data", "must be base64 text")
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _document(block: dict[str, object], at: str) -> str:
    source = block.get("source")
    if not isinstance(source, dict) or source.get("type") != "text":
        raise bad(f"{at}.source.type", 'must be "text": this service reads no files')
    return _text(source, f"{at}.source", name="data")
