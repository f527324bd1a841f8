"""A chat completion request: read once, checked in the public order, sealed for a provider as it was sent.

Invariant: a member that is not interpreted reaches the provider byte for byte, so numbers keep every digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api import media, parameters
from protocol.api.contents import check_contents, lower_contents
from protocol.api.errors import invalid_request, payload_too_large
from protocol.api.estimates import hold_bound, prompt_tokens, text_tokens
from protocol.api.exact_json import decode_exact
from protocol.api.opened import MAX_BODY_BYTES, open_body
from protocol.api.response_format import FormatKind, read_format
from protocol.api.tools import check_history, check_tools, lower_legacy, read_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocol.api.tools import ToolChoice

DEFAULT_OUTPUT_TOKENS: Final = 8192

PRIVATE_FIELDS: Final = frozenset(
    {
        "endpoint",
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
"""Members that never reach a provider: routing wishes, which select nothing, and names of the caller. `endpoint` says
in which form a body is; that is ours to say.
"""

_TOOL_FIELDS: Final = ("tools", "tool_choice", "parallel_tool_calls")
_FIXED_FIELDS: Final = frozenset({"model", "messages", "stream", "n", *_TOOL_FIELDS, *parameters.BOUND_FIELDS})
"""Members that are no matter of a model's defaults."""

_NULL: Final = b"null"
_ONE: Final = msgspec.Raw(b"1")
_TEXT_ENDPOINT: Final = msgspec.Raw(b'"/v1/completions"')


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One checked request. Token counts are estimates; `requested_max` is the caller's own bound, or None.

    `has_tools`: the model may call functions; `forces_tool`: it must. `media_messages` are the decoded messages of a
    request with media, else None. `raw_prompt`: the model is to continue a prompt that stands in the place of messages.
    """

    public_model: str
    stream: bool
    include_usage: bool
    requested_max: int | None
    prompt_tokens_estimate: int
    prompt_tokens_hold: int
    has_tools: bool
    forces_tool: bool
    wants_metadata: bool
    asked_for_stop: bool
    wants_logprobs: bool
    reasoning_effort: str
    format: FormatKind
    fields: dict[str, msgspec.Raw]
    media_messages: list[object] | None = None
    raw_prompt: bool = False

    def __repr__(self) -> str:
        # The members hold the prompt.
        return f"<ChatRequest model={self.public_model[:100]!r} members={len(self.fields)}>"

    @property
    def has_media(self) -> bool:
        """A message holds an image, a video, or another part that is no text."""
        return self.media_messages is not None

    def output_bound(self, model_limit: int | None = None) -> int:
        """The bound that holds, routing and the provider share: the caller's or the model's, clamped to the model's."""
        limit = model_limit if model_limit is not None and model_limit > 0 else None
        if self.requested_max is None:
            return limit if limit is not None else DEFAULT_OUTPUT_TOKENS
        return self.requested_max if limit is None else min(self.requested_max, limit)

    def media_parts(self) -> tuple[media.MediaPart, ...]:
        """The images and videos; raises ApiError 400 for one that no provider could read."""
        return () if self.media_messages is None else media.find_media(self.media_messages)

    def with_inlined(self, inlined: Mapping[media.MediaPart, str]) -> ChatRequest:
        """The same request with new URLs for the given parts, and a larger hold."""
        if self.media_messages is None:
            return self
        fields = self.fields | {"messages": media.with_inlined(self.media_messages, inlined)}
        hold = hold_bound(fields, len(self.media_messages))
        return msgspec.structs.replace(self, fields=fields, prompt_tokens_hold=hold)

    def with_raw_prompt(self, prompt: str) -> ChatRequest:
        """The same request with a prompt that no chat template touches, in the place of its messages."""
        fields = {name: value for name, value in self.fields.items() if name != "messages"}
        fields["prompt"] = msgspec.Raw(msgspec.json.encode(prompt))
        return msgspec.structs.replace(
            self,
            fields=fields,
            raw_prompt=True,
            prompt_tokens_estimate=text_tokens(prompt),
            prompt_tokens_hold=hold_bound(fields, 0),
        )

    def has(self, name: str) -> bool:
        """True if the caller sent the member, and not null."""
        return name in self.fields and bytes(self.fields[name]) != _NULL

    def provider_body(
        self,
        build: str,
        max_tokens: int,
        *,
        limit_bytes: int = MAX_BODY_BYTES,
        defaults: Mapping[str, object] | None = None,
    ) -> bytes:
        """The JSON to seal: the concrete build, the bound, no private members; compact, no HTML escaping.

        `defaults` are members that stand where the caller sent none. Raises ApiError 413 when the rewritten body passes
        `limit_bytes` (a frame must stay below what providers take).
        """
        bound = msgspec.Raw(str(max_tokens).encode())
        members = {"model": msgspec.Raw(msgspec.json.encode(build))}
        members |= {
            name: value for name, value in self.fields.items() if name not in PRIVATE_FIELDS and name != "model"
        }
        for name, value in (defaults or {}).items():
            if name not in _FIXED_FIELDS and name not in PRIVATE_FIELDS and not self.has(name):
                members[name] = msgspec.Raw(msgspec.json.encode(value))
        for name in parameters.BOUND_FIELDS[1:]:
            if name in members:
                members[name] = bound
        members["max_tokens"] = bound
        if self.raw_prompt:
            members["endpoint"] = _TEXT_ENDPOINT
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
    raise ApiError. Raises ApiError: 413 for too much, 422 for a schema that cannot be enforced, 400 with `param`
    for all else.
    """
    fields, values, model = open_body(body, check_model=check_model, limit_bytes=limit_bytes)
    requested_max = parameters.output_bound(values)
    messages = _checked_messages(values.get("messages"))
    to_lower = check_contents(messages)
    parameters.check_single_choice(values)
    parameters.check_sampling(values)
    stops = parameters.read_stops(values.get("stop"))
    if isinstance(values.get("stop"), str):
        fields["stop"] = msgspec.Raw(b"[" + bytes(fields["stop"]) + b"]")
    if values.get("top_p") == 0:  # of no chance at all the most likely token is left; providers take no 0 here
        fields |= {"top_p": _ONE, "top_k": _ONE}
    wanted = read_format(values.get("response_format"))
    if to_lower:
        lower_contents(fields)
    if lower_legacy(fields) or to_lower:
        values |= {name: decode_exact(fields[name]) for name in ("messages", *_TOOL_FIELDS) if name in fields}
        messages = _checked_messages(values["messages"])
    choice = read_choice(values.get("tool_choice"))
    functions = _tools(fields, values, choice)
    check_history(messages)
    if choice.forced:
        parameters.check_forced_stops(stops)
        if wanted != "text":
            raise invalid_request(
                "A forced tool and a response format cannot be combined; drop one of them.", param="response_format"
            )
    options = values.get("stream_options")
    return ChatRequest(
        public_model=model,
        stream=values.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        requested_max=requested_max,
        prompt_tokens_estimate=prompt_tokens(messages, values.get("tools") if "tools" in fields else None),
        prompt_tokens_hold=hold_bound(fields, len(messages)),
        has_tools=bool(functions) and choice.mode != "none",
        forces_tool=choice.forced,
        wants_metadata=values.get("metadata_details") is True,
        asked_for_stop=any(stops),
        wants_logprobs=values.get("logprobs") is True,
        reasoning_effort=str(values.get("reasoning_effort") or ""),
        format=wanted,
        fields=fields,
        media_messages=messages if media.has_media(messages) else None,
    )


def _checked_messages(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise invalid_request("messages must be a non-empty array.", param="messages")
    if not all(isinstance(message, dict) for message in value):
        raise invalid_request("Every message must be an object.", param="messages")
    return value


def _tools(fields: dict[str, msgspec.Raw], values: Mapping[str, object], choice: ToolChoice) -> tuple[str, ...]:
    """The functions that are declared; rewrites them in `fields`, where none are left if none may be called."""
    checked = check_tools(fields.get("tools", msgspec.Raw(b"[]")), values.get("tools"), choice)
    if choice.mode == "none":
        for name in _TOOL_FIELDS:
            fields.pop(name, None)
    elif "tools" in fields:
        fields["tools"] = checked.raw
    return checked.functions
