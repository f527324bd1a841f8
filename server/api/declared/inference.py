"""Declarations of the inference endpoints; only the members that this API reads are named, all others pass through."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import JsonObject
from server.openapi.operation import Operation, Parameter

Tokens = Annotated[int, Meta(ge=0, le=2**31)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]


class StreamOptions(msgspec.Struct, kw_only=True):
    """How a stream ends."""

    include_usage: bool | UnsetType | None = UNSET


class ChatMessage(msgspec.Struct, kw_only=True):
    """One turn; content is a text or a list of parts."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[JsonObject] | UnsetType | None = UNSET
    tool_call_id: str | UnsetType = UNSET
    tool_calls: list[JsonObject] | UnsetType = UNSET


class ChatBody(msgspec.Struct, kw_only=True):
    """A chat completion to make."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | UnsetType | None = UNSET
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: Tokens | UnsetType | None = UNSET
    max_completion_tokens: Tokens | UnsetType | None = UNSET
    n: Literal[1] | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    top_k: int | UnsetType | None = UNSET
    min_p: Share | UnsetType | None = UNSET
    seed: int | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET
    frequency_penalty: float | UnsetType | None = UNSET
    presence_penalty: float | UnsetType | None = UNSET
    repetition_penalty: float | UnsetType | None = UNSET
    logit_bias: dict[str, float] | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET
    tools: Annotated[list[JsonObject], Meta(max_length=64)] | UnsetType | None = UNSET
    tool_choice: str | JsonObject | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    response_format: JsonObject | UnsetType | None = UNSET
    reasoning: JsonObject | UnsetType | None = UNSET
    reasoning_effort: str | UnsetType | None = UNSET
    metadata_details: bool | UnsetType = UNSET


class ChatAnswerMessage(msgspec.Struct, kw_only=True):
    """What the model said."""

    role: Literal["assistant"]
    content: str | None
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning_details: list[JsonObject] | UnsetType = UNSET
    tool_calls: list[JsonObject] | UnsetType = UNSET
    refusal: str | UnsetType = UNSET


class ChatChoice(msgspec.Struct, kw_only=True):
    """The one choice."""

    index: int
    message: ChatAnswerMessage
    finish_reason: str | None
    logprobs: JsonObject | UnsetType | None = UNSET


class TokenUsage(msgspec.Struct, kw_only=True):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int] | UnsetType = UNSET
    completion_tokens_details: dict[str, int] | UnsetType = UNSET


class Signed(msgspec.Struct, kw_only=True):
    """What the machine signed, where it signs."""

    se_signature: str | UnsetType = UNSET
    response_hash: str | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET


class ChatCompletion(Signed, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TokenUsage | UnsetType = UNSET


class CompletionBody(msgspec.Struct, kw_only=True):
    """A legacy completion to make; the prompt goes through the model's chat template, unless `raw` is true."""

    model: str
    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=1)]
    raw: bool | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: Tokens | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    stop: str | list[str] | UnsetType | None = UNSET


class CompletionChoice(msgspec.Struct, kw_only=True):
    """The one choice."""

    index: int
    text: str
    logprobs: JsonObject | None
    finish_reason: str | None


class Completion(Signed, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: TokenUsage | UnsetType = UNSET


class ResponsesBody(msgspec.Struct, kw_only=True):
    """A response to make; nothing of it is stored."""

    model: str
    input: str | Annotated[list[JsonObject], Meta(min_length=1)]
    instructions: str | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    max_output_tokens: Tokens | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    tools: Annotated[list[JsonObject], Meta(max_length=64)] | UnsetType = UNSET
    tool_choice: str | JsonObject | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    reasoning: JsonObject | UnsetType | None = UNSET
    text: JsonObject | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType | None = UNSET


class ResponsesAnswer(msgspec.Struct, kw_only=True):
    """A whole response; it repeats most of what was asked."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[JsonObject]
    parallel_tool_calls: bool
    tool_choice: str | JsonObject
    tools: list[JsonObject]
    error: JsonObject | None
    incomplete_details: JsonObject | None
    usage: JsonObject | UnsetType | None = UNSET


class MessagesMessage(msgspec.Struct, kw_only=True):
    """One turn; content is a text or a list of blocks."""

    role: Literal["user", "assistant", "system"]
    content: str | list[JsonObject]


class MessagesBody(msgspec.Struct, kw_only=True):
    """A message to make."""

    model: str
    messages: Annotated[list[MessagesMessage], Meta(min_length=1)]
    max_tokens: Tokens | UnsetType | None = UNSET
    system: str | list[JsonObject] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    stop_sequences: list[str] | UnsetType | None = UNSET
    temperature: Temperature | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    top_k: int | UnsetType | None = UNSET
    tools: Annotated[list[JsonObject], Meta(max_length=64)] | UnsetType = UNSET
    tool_choice: JsonObject | UnsetType = UNSET
    thinking: JsonObject | UnsetType = UNSET


class MessageUsage(msgspec.Struct, kw_only=True):
    """Tokens that were read and written; `input_tokens` are those that no cache gave."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | UnsetType | None = UNSET
    cache_creation_input_tokens: int | UnsetType | None = UNSET


class Message(Signed, kw_only=True):
    """A whole message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[JsonObject]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(msgspec.Struct, kw_only=True):
    """An estimate of a prompt's length."""

    input_tokens: int


_ROUTE: Final = Parameter(
    name="X-Darkbloom-Route",
    meaning="`self`: only on the caller's own machines, free of charge; `prefer`: there first.",
    where="header",
)
_STREAM: Final = (
    'With `"stream": true` the answer is an event stream. A body that is sealed to the key of `/v1/encryption-key` is '
    "answered sealed, each event of a stream on its own."
)
_ERRORS: Final = (402, 403, 408, 409, 415, 422, 429, 502, 503, 504)

INFERENCE: Final[tuple[Operation, ...]] = (
    Operation(
        method="POST",
        path="/v1/chat/completions",
        family="Inference",
        summary="Make a chat completion",
        auth="key",
        meaning=_STREAM,
        parameters=(
            _ROUTE,
            Parameter(name="metadata", meaning="`details` adds a member `metadata` about the machine that served."),
        ),
        body=ChatBody,
        example={"model": "darkbloom-demo", "messages": [{"role": "user", "content": "What is Darkbloom?"}]},
        answer=ChatCompletion,
        errors=_ERRORS,
        inference=True,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/v1/completions",
        family="Inference",
        summary="Make a legacy completion",
        auth="key",
        meaning=_STREAM,
        parameters=(_ROUTE,),
        body=CompletionBody,
        example={"model": "darkbloom-demo", "prompt": "What is Darkbloom?", "max_tokens": 64},
        answer=Completion,
        errors=_ERRORS,
        inference=True,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/v1/responses",
        family="Inference",
        summary="Make a response",
        auth="key",
        meaning=_STREAM,
        parameters=(_ROUTE,),
        body=ResponsesBody,
        example={"model": "darkbloom-demo", "input": "What is Darkbloom?"},
        answer=ResponsesAnswer,
        errors=_ERRORS,
        inference=True,
        streams=True,
    ),
    Operation(
        method="POST",
        path="/v1/messages",
        family="Inference",
        summary="Make a message",
        auth="key",
        meaning=_STREAM,
        parameters=(_ROUTE,),
        body=MessagesBody,
        example={
            "model": "darkbloom-demo",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "What is Darkbloom?"}],
        },
        answer=Message,
        errors=_ERRORS,
        inference=True,
        streams=True,
        anthropic=True,
    ),
    Operation(
        method="POST",
        path="/v1/messages/count_tokens",
        family="Inference",
        summary="Estimate the tokens of a message's prompt",
        auth="key",
        body=MessagesBody,
        example={
            "model": "darkbloom-demo",
            "max_tokens": 64,
            "messages": [{"role": "user", "content": "What is Darkbloom?"}],
        },
        answer=TokenCount,
        errors=(403, 408, 415, 429, 503),
        inference=True,
        anthropic=True,
    ),
)
