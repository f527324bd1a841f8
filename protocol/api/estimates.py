"""How many tokens a prompt may have, guessed from its shape: for routing, and as an upper bound for a hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.exact_json import encode_exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import msgspec

IMAGE_TOKENS: Final = 300
VIDEO_TOKENS: Final = 1500
MESSAGE_TOKENS: Final = 4

HOLD_BASE: Final = 64
HOLD_PER_MESSAGE: Final = 16
"""Chat templates add tokens that the bytes of a tiny message do not cover."""

_HOLD_FIELDS: Final = (
    "messages",
    "prompt",
    "tools",
    "functions",
    "response_format",
    "system",
    "instructions",
    "documents",
    "chat_template_kwargs",
    "reasoning",
    "reasoning_effort",
)
"""All that a chat template may write into the prompt, and the prompt itself where there is no template."""


def text_tokens(text: str) -> int:
    """A quarter of the UTF-8 bytes, at least 1; 0 for empty text."""
    return max(1, len(text.encode()) // 4) if text else 0


def message_tokens(message: object) -> int:
    """4 plus the content of one chat message; 300 an image, 1500 a video, other parts by their JSON length."""
    if not isinstance(message, dict):
        return MESSAGE_TOKENS + _json_tokens(message)
    content = message.get("content")
    if isinstance(content, str):
        total = text_tokens(content)
    elif isinstance(content, list):
        total = sum(_part_tokens(part) for part in content)
    else:
        total = 0 if content is None else _json_tokens(content)
    if message.get("tool_calls"):
        total += _json_tokens(message["tool_calls"])
    return MESSAGE_TOKENS + total


def prompt_tokens(messages: Iterable[object], tools: object) -> int:
    """The estimate that routing uses; never billing."""
    return sum(message_tokens(message) for message in messages) + (_json_tokens(tools) if tools else 0)


def hold_bound(fields: Mapping[str, msgspec.Raw], message_count: int) -> int:
    """Upper bound of the prompt tokens for a hold: bytes of the prompt's JSON, plus 64 and 16 a message.

    A byte-level tokeniser never makes more tokens than bytes.
    """
    size = sum(len(memoryview(fields[name])) for name in _HOLD_FIELDS if name in fields)
    return size + HOLD_BASE + HOLD_PER_MESSAGE * message_count


def _part_tokens(part: object) -> int:
    if isinstance(part, str):
        return text_tokens(part)
    if isinstance(part, dict):
        match part.get("type"):
            case "text" if isinstance(part.get("text"), str):
                return text_tokens(part["text"])
            case "image_url" | "input_image" | "image":
                return IMAGE_TOKENS
            case "video_url" | "input_video" | "video":
                return VIDEO_TOKENS
    return _json_tokens(part)


def _json_tokens(value: object) -> int:
    return len(encode_exact(value)) // 4
