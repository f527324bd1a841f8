"""A provider's chat chunks turned into the one stream that every OpenAI client reads rightly.

Invariant: role once, id and created once chosen, finish and usage last, one `[DONE]`, nothing after the usage chunk.
Invariant: text is passed on in order and unchanged (but for `<think>` blocks of models that are flagged for it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from protocol.api import sse
from protocol.api.chunk import WireDelta
from protocol.api.chunk_reader import ChunkReader
from protocol.api.ending import UsageReport, finish_reason, signature_members
from protocol.api.errors import ApiError, openai_envelope
from protocol.api.reasoning import ReasoningDeltas
from protocol.api.splice import TemplateKeeper, plain_text
from protocol.api.think import ThinkSplitter
from protocol.api.tool_calls import ToolCallNumbering, fragment_text_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from native import SpliceTemplate
    from protocol.api.chunk import WireChoice

_NO_FINISH: Final = b',"finish_reason":null}]}\n\n'
_TEXT_END: Final = b'"}' + _NO_FINISH


class Piece(NamedTuple):
    """Output of one event: ready SSE bytes, whether they hold generated content, and what they count for."""

    ready: bytes
    content: bool
    deltas: int
    text_bytes: int


class ChatStream:
    """One streamed answer. Feed plaintexts in order, then call `finish` or `fail` once. Sans-IO, raises nothing.

    `completion_id` is the job's id (`chatcmpl-<job>`), `created` Unix seconds, `requested_max` the output bound that
    was sent to the provider. `split_think` moves `<think>` blocks into reasoning.
    """

    def __init__(
        self,
        *,
        public_model: str,
        completion_id: str,
        created: int,
        include_usage: bool,
        requested_max: int,
        split_think: bool = False,
    ) -> None:
        self._requested_max = requested_max
        self._include_usage = include_usage
        self._head = (
            b'data: {"id":'
            + msgspec.json.encode(completion_id)
            + b',"object":"chat.completion.chunk","created":%d,"model":' % created
            + msgspec.json.encode(public_model)
            + b',"choices":['
        )
        self._delta_head = self._head + b'{"index":0,"delta":'
        self._calls = ToolCallNumbering(completion_id.removeprefix("chatcmpl-").replace("-", ""))
        self._reasoning = ReasoningDeltas()
        self._think = ThinkSplitter() if split_think else None
        self._text_head = self._delta_head + b'{"content":"'
        self._templates = TemplateKeeper(self._text_head, _TEXT_END)
        self._role_sent = False
        self._chunks = ChunkReader()
        self._reported_reason: str | None = None
        self.deltas = 0
        self.text_bytes = 0

    @property
    def template(self) -> SpliceTemplate | None:
        """What the pump may splice from now on; None until a plain content delta was normalised."""
        return self._templates.current

    @property
    def dropped_events(self) -> int:
        """Events that were no chunks."""
        return self._chunks.dropped_events

    @property
    def ended(self) -> bool:
        """The provider named a finish reason or said `[DONE]`: no more text is due."""
        return self._chunks.ended

    @property
    def dropped_calls(self) -> int:
        """Tool calls beyond the bound of one answer."""
        return self._calls.dropped

    def feed(self, plaintext: bytes) -> list[Piece]:
        """Normalise one opened chunk: any number of events, any line ends; what is no chunk is dropped and counted."""
        text = self._templates.text_of(plaintext)
        if text is not None:  # the shape that was proven: nothing but its text is new
            return [self._text_piece(text)]
        pieces: list[Piece] = []
        for choice in self._chunks.read(plaintext):
            plain = plain_text(choice) if self._think is None else None
            if plain is not None:
                pieces.append(self._text_piece(plain))
                if self._chunks.alone:
                    self._templates.saw(plaintext, plain)
                continue
            piece = self._piece(choice)
            if piece is not None:
                pieces.append(piece)
        return pieces

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> bytes:
        """The end of a complete answer: held finish chunk, usage chunk if it was asked for, `[DONE]`.

        The signature and `attachments` ride on the usage chunk, else on the finish chunk.
        """
        out = [self._flush_think(), self._role_chunk()]
        extra = signature_members(response_hash, se_signature) | dict(attachments or {})
        reason = finish_reason(
            self._reported_reason,
            completion_tokens=usage.completion_tokens,
            requested_max=self._requested_max,
            has_tool_calls=self._calls.count > 0,
            stopped_by_caller=stop_sequence is not None,
        )
        finish_extra = b"" if self._include_usage else _members(extra)
        out.append(
            self._delta_head + b'{},"finish_reason":' + msgspec.json.encode(reason) + b"}]" + finish_extra + b"}\n\n"
        )
        if self._include_usage:
            counted = {"usage": usage.as_json(reasoned=self._reasoning.any_text)}
            out.append(self._head + b"]" + _members(counted | extra) + b"}\n\n")
        out.append(sse.DONE)
        return b"".join(out)

    def fail(self, error: ApiError) -> bytes:
        """The end of a broken answer: one error event and no `[DONE]`."""
        return sse.encode_json_event(openai_envelope(error))

    def _text_piece(self, text: str) -> Piece:
        """A content delta that adds nothing but text, which is not empty."""
        ready = self._text_head + msgspec.json.encode(text)[1:-1] + _TEXT_END
        if not self._role_sent:
            ready = self._role_chunk() + ready
        size = len(text) if text.isascii() else len(text.encode())
        self.deltas += 1
        self.text_bytes += size
        return Piece(ready, content=True, deltas=1, text_bytes=size)

    def _piece(self, choice: WireChoice) -> Piece | None:
        if choice.finish_reason is not None:
            self._reported_reason = choice.finish_reason
        delta = choice.added()
        if self._think is not None and delta.content:
            visible, thought = self._think.feed(delta.content)
            delta.content = visible
            delta.reasoning_content = delta.reasoning_text() + thought
        ready, text_bytes = self._delta_chunk(delta, choice.logprobs_json())
        if not ready:
            if delta.role is None or self._role_sent:
                return None
            return Piece(self._role_chunk(), content=False, deltas=0, text_bytes=0)
        self.deltas += 1
        self.text_bytes += text_bytes
        return Piece(self._role_chunk() + ready, content=True, deltas=1, text_bytes=text_bytes)

    def _delta_chunk(self, delta: WireDelta, logprobs: bytes | None) -> tuple[bytes, int]:
        """(chunk, text bytes) of what a delta adds; empty when it adds nothing."""
        added: dict[str, object] = {}
        text_bytes = 0
        if delta.content:
            added["content"] = delta.content
            text_bytes += len(delta.content.encode())
        if delta.refusal:
            added["refusal"] = delta.refusal
            text_bytes += len(delta.refusal.encode())
        reasoning = self._reasoning.members(delta)
        added |= reasoning
        text_bytes += len(str(reasoning.get("reasoning", "")).encode())
        fragments = [placed for call in delta.tool_calls or [] if (placed := self._calls.place(call)) is not None]
        if fragments:
            added["tool_calls"] = fragments
            text_bytes += sum(fragment_text_bytes(fragment) for fragment in fragments)
        if not added and logprobs is None:
            return b"", 0
        middle = b"" if logprobs is None else b',"logprobs":' + logprobs
        return self._delta_head + msgspec.json.encode(added) + middle + _NO_FINISH, text_bytes

    def _role_chunk(self) -> bytes:
        """The first chunk of the stream, once."""
        if self._role_sent:
            return b""
        self._role_sent = True
        return self._delta_head + b'{"role":"assistant","content":""}' + _NO_FINISH

    def _flush_think(self) -> bytes:
        if self._think is None:
            return b""
        visible, thought = self._think.flush()
        role = self._role_chunk()
        ready, text_bytes = self._delta_chunk(WireDelta(content=visible, reasoning_content=thought), None)
        self.text_bytes += text_bytes
        return role + ready


def _members(values: Mapping[str, object]) -> bytes:
    """`,"key":value` for each member."""
    return b"".join(b"," + msgspec.json.encode({name: value})[1:-1] for name, value in values.items())
