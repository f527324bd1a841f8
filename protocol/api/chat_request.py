"""A chat completion request: read once, checked in the public order, sealed for a provider as it was sent.

Invariant: a member that is not interpreted reaches the provider byte for byte, so numbers keep every digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api import parameters
from protocol.api.errors import invalid_request, payload_too_large
from protocol.api.estimates import hold_bound, prompt_tokens
from protocol.api.exact_json import decode_exact, split_object

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
DEFAULT_OUTPUT_TOKENS: Final = 8192
MAX_TOOLS: Final = 64
MAX_STOPS_WHEN_FORCED: Final = 4
MAX_STOP_BYTES: Final = 256

PRIVATE_FIELDS: Final = frozenset(
    {
        "metadata",
        "metadata_details",
        "prompt_cache_key",
        "provider",
        "provider_serial",
        "provider_serials",
        "safety_identifier",
        "user",
    }
)
"""Members that never reach a provider: routing wishes, which select nothing, and names of the caller."""

_MEDIA_PARTS: Final = frozenset(
    {"image_url", "input_image", "image", "video_url", "input_video", "video", "input_audio"}
)
_READ_FIELDS: Final[tuple[str, ...]] = (
    "model",
    "messages",
    "stream",
    "stream_options",
    "stop",
    "n",
    "tools",
    "tool_choice",
    "metadata_details",
    *parameters.BOUND_FIELDS,
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
)


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One checked request. Token counts are estimates; `requested_max` is the caller's own bound, or None."""

    public_model: str
    stream: bool
    include_usage: bool
    requested_max: int | None
    prompt_tokens_estimate: int
    prompt_tokens_hold: int
    has_tools: bool
    forces_tool: bool
    has_media: bool
    wants_metadata: bool
    asked_for_stop: bool
    fields: dict[str, msgspec.Raw]

    def __repr__(self) -> str:
        # The members hold the prompt.
        return f"<ChatRequest model={self.public_model[:100]!r} members={len(self.fields)}>"

    def output_bound(self, model_limit: int | None = None) -> int:
        """The bound that holds, routing and the provider share: the caller's or the model's, clamped to the model's."""
        limit = model_limit if model_limit is not None and model_limit > 0 else None
        if self.requested_max is None:
            return limit if limit is not None else DEFAULT_OUTPUT_TOKENS
        return self.requested_max if limit is None else min(self.requested_max, limit)

    def provider_body(self, build: str, max_tokens: int, *, limit_bytes: int = MAX_BODY_BYTES) -> bytes:
        """The JSON to seal: the concrete build, the bound, no private members; compact, no HTML escaping.

        Raises ApiError 413 when the rewritten body passes `limit_bytes` (a frame must stay below what providers take).
        """
        bound = msgspec.Raw(str(max_tokens).encode())
        members = {"model": msgspec.Raw(msgspec.json.encode(build))}
        members |= {
            name: value for name, value in self.fields.items() if name not in PRIVATE_FIELDS and name != "model"
        }
        for name in parameters.BOUND_FIELDS[1:]:
            if name in members:
                members[name] = bound
        members["max_tokens"] = bound
        members["stream"] = msgspec.Raw(b"true" if self.stream else b"false")
        body = msgspec.json.encode(members)
        if len(body) > limit_bytes:
            raise payload_too_large(limit_bytes)
        return body


def parse_chat_request(
    body: bytes,
    *,
    check_model: Callable[[str], None] | None = None,
    limit_bytes: int = MAX_BODY_BYTES,
) -> ChatRequest:
    """Read and check a body; the first fault in the public order wins.

    `check_model` is called with the name as sent, between the model check and the bounds (a key's allow-list); it may
    raise ApiError. Raises ApiError: 413 above `limit_bytes`, 400 with `param` for all else.
    """
    if len(body) > limit_bytes:
        raise payload_too_large(limit_bytes)
    fields = split_object(body)
    for name, raw in fields.items():
        if name not in _READ_FIELDS:
            decode_exact(raw)
    values = {name: decode_exact(fields[name]) for name in _READ_FIELDS if name in fields}

    model = values.get("model")
    if not isinstance(model, str) or not model.strip():
        raise invalid_request("model must be a non-empty string.", param="model")
    if check_model is not None:
        check_model(model)
    requested_max = parameters.output_bound(values)
    messages = _checked_messages(values.get("messages"))
    parameters.check_single_choice(values)
    parameters.check_sampling(values)
    has_tools, forces_tool = _tool_traits(values.get("tools"), values.get("tool_choice"))
    stops = _checked_stop(values.get("stop"), forces_tool=forces_tool)
    if isinstance(values.get("stop"), str):
        fields["stop"] = msgspec.Raw(b"[" + bytes(fields["stop"]) + b"]")
    options = values.get("stream_options")
    return ChatRequest(
        public_model=model,
        stream=values.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        requested_max=requested_max,
        prompt_tokens_estimate=prompt_tokens(messages, values.get("tools")),
        prompt_tokens_hold=hold_bound(fields, len(messages)),
        has_tools=has_tools,
        forces_tool=forces_tool,
        has_media=any(_has_media(message) for message in messages),
        wants_metadata=values.get("metadata_details") is True,
        asked_for_stop=bool(stops),
        fields=fields,
    )


def _checked_messages(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise invalid_request("messages must be a non-empty array.", param="messages")
    if not all(isinstance(message, dict) for message in value):
        raise invalid_request("Every message must be an object.", param="messages")
    return value


def _checked_stop(value: object, *, forces_tool: bool) -> list[str]:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return []
    if not isinstance(stops, list):
        raise invalid_request("stop must be a string or an array of strings.", param="stop")
    checked = [stop for stop in stops if isinstance(stop, str)]
    if len(checked) != len(stops):
        raise invalid_request("stop must be a string or an array of strings.", param="stop")
    if forces_tool and (
        len(checked) > MAX_STOPS_WHEN_FORCED or any(not 0 < len(stop.encode()) <= MAX_STOP_BYTES for stop in checked)
    ):
        raise invalid_request(
            "With a forced tool choice, stop takes at most 4 non-empty strings of at most 256 bytes.", param="stop"
        )
    return [stop for stop in checked if stop]


def _tool_traits(tools: object, choice: object) -> tuple[bool, bool]:
    """(has tools, a tool is forced); raises ApiError 400 for tools that are no array, too many, or no objects."""
    if tools is not None and not isinstance(tools, list):
        raise invalid_request("tools must be an array.", param="tools")
    listed = tools or []
    if len(listed) > MAX_TOOLS:
        raise invalid_request(f"tools takes at most {MAX_TOOLS} entries.", param="tools")
    for index, tool in enumerate(listed):
        if not isinstance(tool, dict):
            raise invalid_request("Every tool must be an object.", param=f"tools[{index}]")
    mode = choice.get("type") if isinstance(choice, dict) else choice
    if choice is not None and mode not in ("auto", "none", "required", "function"):
        raise invalid_request(
            'tool_choice must be "auto", "none", "required" or {"type": "function", ...}.', param="tool_choice"
        )
    if mode == "function" and not isinstance(choice, dict):
        raise invalid_request('tool_choice must name a function as {"type": "function", ...}.', param="tool_choice")
    forced = mode in ("required", "function")
    if forced and not listed:
        raise invalid_request("tool_choice forces a tool, but tools is empty.", param="tool_choice")
    return bool(listed) and mode != "none", forced


def _has_media(message: object) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return False
    return any(isinstance(part, dict) and part.get("type") in _MEDIA_PARTS for part in content)
