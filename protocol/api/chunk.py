"""What a provider's chunk may say: a closed shape, so that nothing else of an untrusted provider reaches a client."""

from __future__ import annotations

from typing import Final

import msgspec

from protocol.api.errors import ApiError
from protocol.api.exact_json import decode_exact, encode_exact

FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


class WireFunction(msgspec.Struct):
    """Name and a piece of the arguments of one call."""

    name: str | None = None
    arguments: str | None = None


class WireToolCall(msgspec.Struct):
    """One fragment of one tool call, as the provider numbers it."""

    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None


class WireDelta(msgspec.Struct):
    """The members of a delta, or of a complete message, that we pass on."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, object]] | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None

    def reasoning_text(self) -> str:
        """The reasoning under either of its two names; `reasoning_content` wins when it is not empty."""
        return self.reasoning_content or self.reasoning or ""


class WireChoice(msgspec.Struct):
    """One choice; older providers send a complete `message` where others send a `delta`.

    `text` is what continues a raw prompt.
    """

    index: int = 0
    delta: WireDelta | None = None
    message: WireDelta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")

    def added(self) -> WireDelta:
        """The delta, or the message as one delta whose calls are numbered by their place."""
        if self.delta is not None:
            return self.delta
        if self.message is None:
            return WireDelta(content=self.text)
        for place, call in enumerate(self.message.tool_calls or []):
            call.index = place
        return self.message

    def logprobs_absent(self) -> bool:
        """True when the provider sent no log probabilities, or null."""
        return bytes(self.logprobs) == b"null"

    def logprobs_json(self) -> bytes | None:
        """The log probabilities on one line, with their digits; None without any."""
        raw = bytes(self.logprobs)
        if not raw.startswith(b"{"):
            return None
        try:
            return encode_exact(decode_exact(raw))
        except ApiError:
            return None

    def logprob_entries(self) -> list[msgspec.Raw]:
        """The entries of the content's log probabilities, each with its digits and on one line."""
        encoded = self.logprobs_json()
        if encoded is None:
            return []
        try:
            return _LOGPROBS.decode(encoded).content or []
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return []


class _WireLogprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_LOGPROBS: Final = msgspec.json.Decoder(_WireLogprobs)


class WireChunk(msgspec.Struct):
    """One `chat.completion.chunk`, or one complete `chat.completion`."""

    choices: list[WireChoice]


_DECODER: Final = msgspec.json.Decoder(WireChunk)


def read_chunk(payload: bytes) -> WireChoice | None:
    """The first choice of one event; an empty choice for a chunk without choices (usage only); None if it is no chunk.

    Choices other than number 0 do not exist for us: `n` is always 1. Raises nothing.
    """
    try:
        choices = _DECODER.decode(payload).choices
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    for choice in choices:
        if choice.index == 0:
            return choice
    return WireChoice()
