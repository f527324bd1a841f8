"""A provider's chat chunks turned into the event stream of one message.

Invariant: `message_start` first, blocks one at a time and numbered from 0, then `message_delta` with the true usage and
`message_stop`; a broken answer ends with one `error` event instead.
Invariant: where text may be spliced, its block stays open to the end, so that a run may be written at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from native import SpliceTemplate
from protocol.api.anthropic.block_queue import BlockQueue
from protocol.api.anthropic.ending import stop_members, thinking_signature, usage_members
from protocol.api.anthropic.errors import anthropic_envelope
from protocol.api.anthropic.events import DELTA_END, MESSAGE_STOP, event
from protocol.api.chat_stream import Piece
from protocol.api.deltas import Delta, DeltaReader, ReadingAssembler
from protocol.api.ending import finish_reason, signature_members

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protocol.api.ending import UsageReport
    from protocol.api.errors import ApiError
    from protocol.api.shapes import AnswerFacts


class MessageStream(ReadingAssembler):
    """One streamed message; a StreamAssembler. `has_tools`: the caller offered tools, so calls are to be expected."""

    def __init__(
        self, facts: AnswerFacts, *, stop_sequences: Sequence[str], has_tools: bool, request_id: str | None
    ) -> None:
        super().__init__(DeltaReader(facts.job_hex, split_think=facts.split_think))
        self._facts = facts
        self._stop_sequences = stop_sequences
        self._spliced = not has_tools and not facts.split_think
        self._request_id = request_id
        self._blocks = BlockQueue(thinking_signature(facts.job_hex), keep_text_open=self._spliced)
        self._started = False
        self._template: SpliceTemplate | None = None

    @property
    def dropped_calls(self) -> int:
        """See Assembler; arguments that are no JSON count too."""
        return super().dropped_calls + self._blocks.dropped

    @property
    def template(self) -> SpliceTemplate | None:
        """What the pump may splice: text into the open text block."""
        known = self._reader.input_template
        head = self._blocks.open_text_head
        if not self._spliced or known is None or not head:
            return None
        mine = self._template
        if mine is None or mine.in_prefix != known.in_prefix or mine.in_suffix != known.in_suffix:
            self._template = SpliceTemplate(known.in_prefix, known.in_suffix, head, DELTA_END)
        return self._template

    def feed(self, plaintext: bytes) -> list[Piece]:
        """Take one opened chunk; may raise AnswerTooLarge."""
        pieces: list[Piece] = []
        for delta in self._reader.read(plaintext):
            text_bytes = delta.text_bytes
            self.deltas += 1
            self.text_bytes += text_bytes
            pieces.append(Piece(self._take(delta), content=True, deltas=1, text_bytes=text_bytes))
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
        """The end of a complete answer; the signature and `attachments` stand in `message_delta`."""
        held = b"".join(self._take(delta) for delta in self._reader.flush())
        reason = finish_reason(
            self._reader.reported_reason,
            completion_tokens=usage.completion_tokens,
            requested_max=self._facts.requested_max,
            has_tool_calls=self._reader.call_count > 0,
            stopped_by_caller=stop_sequence is not None,
        )
        ending: dict[str, object] = {
            "delta": stop_members(reason, stop_sequence, self._stop_sequences),
            "usage": usage_members(usage, reasoned=self._reader.reasoned),
        }
        ending |= signature_members(response_hash, se_signature) | dict(attachments or {})
        return held + self._start() + self._blocks.finish() + event("message_delta", ending) + MESSAGE_STOP

    def fail(self, error: ApiError) -> bytes:
        """The end of a broken answer: one error event."""
        envelope = anthropic_envelope(error, self._request_id, in_stream=True)
        return event("error", {name: value for name, value in envelope.items() if name != "type"})

    def _take(self, delta: Delta) -> bytes:
        out = [self._start()]
        if delta.reasoning:
            out.append(self._blocks.thinking(delta.reasoning))
        visible = delta.text + delta.refusal
        if visible:
            out.append(self._blocks.text(visible))
        out += [self._blocks.call(fragment) for fragment in delta.calls]
        return b"".join(out)

    def _start(self) -> bytes:
        """The first event, once; its usage is the estimate, which the last one corrects."""
        if self._started:
            return b""
        self._started = True
        facts = self._facts
        message: dict[str, object] = {
            "id": f"msg_{facts.job_hex}",
            "type": "message",
            "role": "assistant",
            "model": facts.public_model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": facts.prompt_tokens, "output_tokens": 0},
        }
        return event("message_start", {"message": message})
