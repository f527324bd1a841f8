"""A provider's chat chunks raised to legacy completions: their visible text alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from native import SpliceTemplate
from protocol.api import sse
from protocol.api.chat_answer import ChatAnswer
from protocol.api.chat_stream import Piece
from protocol.api.deltas import DeltaReader, ReadingAssembler
from protocol.api.ending import finish_reason, signature_members
from protocol.api.errors import openai_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.api.ending import UsageReport
    from protocol.api.errors import ApiError
    from protocol.api.shapes import AnswerFacts

_TEXT_END: Final = b'","logprobs":null,"finish_reason":null}]}\n\n'
_REASONS: Final = frozenset({"stop", "length", "content_filter"})


def known_reason(reason: object) -> str:
    """A finish reason of this API: an answer that ended in a tool call has stopped."""
    return reason if isinstance(reason, str) and reason in _REASONS else "stop"


class CompletionStream(ReadingAssembler):
    """A streamed completion; a StreamAssembler. Reasoning and tool calls have no place in it and are left out."""

    def __init__(self, facts: AnswerFacts) -> None:
        super().__init__(DeltaReader(facts.job_hex, split_think=facts.split_think))
        self._facts = facts
        self._head = b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":[' % (
            msgspec.json.encode(f"cmpl-{facts.job_hex}"),
            facts.created,
            msgspec.json.encode(facts.public_model),
        )
        self._text_head = self._head + b'{"index":0,"text":"'
        self._template: SpliceTemplate | None = None

    @property
    def template(self) -> SpliceTemplate | None:
        """See Assembler."""
        known = self._reader.input_template
        if known is None:
            return None
        made = self._template
        if made is None or (made.in_prefix, made.in_suffix) != (known.in_prefix, known.in_suffix):
            made = self._template = SpliceTemplate(known.in_prefix, known.in_suffix, self._text_head, _TEXT_END)
        return made

    def feed(self, plaintext: bytes) -> list[Piece]:
        """See StreamAssembler; what adds no visible text counts, and writes nothing."""
        pieces: list[Piece] = []
        for delta in self._reader.read(plaintext):
            size = delta.text_bytes
            self.deltas += 1
            self.text_bytes += size
            pieces.append(Piece(self._written(delta.text + delta.refusal), True, 1, size))
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
        """See StreamAssembler: the reason, the usage if it was asked for, `[DONE]`; the signature on the latter."""
        out = [self._written(delta.text) for delta in self._reader.flush()]
        extra = signature_members(response_hash, se_signature) | dict(attachments or {})
        reason = finish_reason(
            self._reader.reported_reason,
            completion_tokens=usage.completion_tokens,
            requested_max=self._facts.requested_max,
            has_tool_calls=self._reader.call_count > 0,
            stopped_by_caller=stop_sequence is not None,
        )
        last = {"index": 0, "text": "", "logprobs": None, "finish_reason": known_reason(reason)}
        counted = {"usage": usage.as_json(reasoned=self._reader.reasoned)} | extra
        with_usage = self._facts.include_usage
        out.append(self._head + msgspec.json.encode(last) + _closed({} if with_usage else extra))
        if with_usage:
            out.append(self._head + _closed(counted))
        return b"".join([*out, sse.DONE])

    def fail(self, error: ApiError) -> bytes:
        """See StreamAssembler."""
        return sse.encode_json_event(openai_envelope(error))

    def _written(self, text: str) -> bytes:
        return self._text_head + msgspec.json.encode(text)[1:-1] + _TEXT_END if text else b""


class CompletionAnswer(ChatAnswer):
    """A completion in one piece; a WholeAssembler."""

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """See WholeAssembler."""
        chat = super().finish(
            usage,
            response_hash=response_hash,
            se_signature=se_signature,
            stop_sequence=stop_sequence,
            attachments=attachments,
        )
        return raise_completion(chat)


def raise_completion(chat: dict[str, object]) -> dict[str, object]:
    """A `chat.completion` object as a `text_completion`; further members stay."""
    listed = chat["choices"]
    choice = listed[0] if isinstance(listed, list) else {}
    message = choice["message"]
    text = {
        "index": 0,
        "text": message["content"] + message.get("refusal", ""),
        "logprobs": None,
        "finish_reason": known_reason(choice["finish_reason"]),
    }
    return chat | {"object": "text_completion", "choices": [text]}


def _closed(members: Mapping[str, object]) -> bytes:
    """The end of a chunk, with further members behind its choices."""
    return (
        b"]" + b"".join(b"," + msgspec.json.encode({name: value})[1:-1] for name, value in members.items()) + b"}\n\n"
    )
