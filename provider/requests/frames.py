"""The server-sent events of one answer, as the plaintext of its chunks; pure, and cheap for content deltas."""

from typing import Final, Literal

import msgspec

from provider.engine import Usage

Shape = Literal["chat", "text"]
FinishWord = Literal["stop", "length"]

DONE: Final = b"data: [DONE]\n\n"
_encode_json: Final = msgspec.json.Encoder().encode


class EventWriter:
    """Writes the events of one answer; `created` is Unix seconds."""

    __slots__ = ("_delta_prefix", "_delta_suffix", "_head", "_shape")

    def __init__(self, *, request_id: str, model: str, created: int, shape: Shape = "chat") -> None:
        prefix, kind = ("chatcmpl-", "chat.completion.chunk") if shape == "chat" else ("cmpl-", "text_completion")
        self._shape = shape
        self._head = b'data: {"id":%b,"object":"%b","created":%d,"model":%b,"choices":[' % (
            _encode_json(prefix + request_id),
            kind.encode(),
            created,
            _encode_json(model),
        )
        if shape == "chat":
            self._delta_prefix = self._head + b'{"index":0,"delta":{"content":'
            self._delta_suffix = b'},"finish_reason":null}]}\n\n'
        else:
            self._delta_prefix = self._head + b'{"index":0,"text":'
            self._delta_suffix = b',"finish_reason":null}]}\n\n'

    def first(self) -> bytes | None:
        """The role delta that opens a chat answer; None for a text completion."""
        if self._shape == "text":
            return None
        return self._head + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'

    def content(self, text: str) -> bytes:
        """A content delta."""
        return b"".join((self._delta_prefix, _encode_json(text), self._delta_suffix))

    def finish(self, reason: FinishWord) -> bytes:
        """The event that names the reason."""
        middle = b'"delta":{}' if self._shape == "chat" else b'"text":""'
        return self._head + b'{"index":0,%b,"finish_reason":"%b"}]}\n\n' % (middle, reason.encode())

    def usage(self, usage: Usage) -> bytes:
        """The event that carries the token counts."""
        counts = b'"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d' % (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens + usage.completion_tokens,
        )
        details = b'"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}'
        return self._head + b'],"usage":{%b,%b}}\n\n' % (counts, details)
