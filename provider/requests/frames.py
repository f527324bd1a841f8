"""The server-sent events of one answer, as the plaintext of its chunks; pure, and cheap for content deltas."""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from provider.engine import Usage
from provider.requests.token_logprobs import Entry

Shape = Literal["chat", "text"]
FinishWord = Literal["stop", "length", "tool_calls"]

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

    def content_with(self, text: str, logprobs: Sequence[Entry]) -> bytes:
        """A content delta with the log-probabilities of its tokens; a text completion has no place for them."""
        if self._shape == "text":
            return self.content(text)
        entries = _encode_json({"content": list(logprobs), "refusal": None})
        head, body = self._head, _encode_json(text)
        return b"".join(
            (head, b'{"index":0,"delta":{"content":', body, b'},"logprobs":', entries, b',"finish_reason":null}]}\n\n')
        )

    def reasoning(self, text: str) -> bytes:
        """A reasoning delta."""
        head, body = self._head, _encode_json(text)
        return b"".join((head, b'{"index":0,"delta":{"reasoning_content":', body, b'},"finish_reason":null}]}\n\n'))

    def tool_call(self, number: int, call_id: str, name: str, arguments: str) -> bytes:
        """A whole tool call, or its beginning; `arguments` is JSON text."""
        function = {"name": name, "arguments": arguments}
        return self._tool_delta({"index": number, "id": call_id, "type": "function", "function": function})

    def tool_arguments(self, number: int, arguments: str) -> bytes:
        """More of the arguments of a call that has begun."""
        return self._tool_delta({"index": number, "function": {"arguments": arguments}})

    def _tool_delta(self, fragment: dict[str, object]) -> bytes:
        call = _encode_json([fragment])
        return b"".join((self._head, b'{"index":0,"delta":{"tool_calls":', call, b'},"finish_reason":null}]}\n\n'))

    def finish(self, reason: FinishWord) -> bytes:
        """The event that names the reason."""
        middle = b'"delta":{}' if self._shape == "chat" else b'"text":""'
        return self._head + b'{"index":0,%b,"finish_reason":"%b"}]}\n\n' % (middle, reason.encode())

    def usage(self, usage: Usage, reasoning_tokens: int = 0) -> bytes:
        """The event that carries the token counts."""
        counts = b'"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d' % (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens + usage.completion_tokens,
        )
        details = (
            b'"prompt_tokens_details":{"cached_tokens":%d},"completion_tokens_details":{"reasoning_tokens":%d}'
            % (
                usage.cached_tokens,
                reasoning_tokens,
            )
        )
        return self._head + b'],"usage":{%b,%b}}\n\n' % (counts, details)
