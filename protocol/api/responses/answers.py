"""A provider's chat chunks raised to a response: as typed events, or in one piece.

Invariant: the items of both are the same for the same chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.chat_answer import MAX_TEXT_BYTES, AnswerTooLarge
from protocol.api.chat_stream import Piece
from protocol.api.deltas import DeltaReader, ReadingAssembler
from protocol.api.ending import signature_members
from protocol.api.responses.events import EventWriter
from protocol.api.responses.lifecycle import OutputItems
from protocol.api.responses.snapshot import Snapshot, ending_of, failure_json, usage_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from native import SpliceTemplate
    from protocol.api.ending import UsageReport
    from protocol.api.errors import ApiError
    from protocol.api.responses.snapshot import Ending
    from protocol.api.shapes import AnswerFacts

_RUN_END: Final = b"\n"


class _Assembler(ReadingAssembler):
    """What both forms share: chunks read into items, and their counts."""

    def __init__(self, facts: AnswerFacts, echo: Mapping[str, object], events: EventWriter | None) -> None:
        super().__init__(DeltaReader(facts.job_hex, split_think=facts.split_think))
        self._facts = facts
        self._snapshot = Snapshot(facts, echo)
        self._items = OutputItems(facts.job_hex, events)

    @property
    def dropped_calls(self) -> int:
        """Tool calls beyond the bound of one answer, and fragments that came after the end of their call."""
        return super().dropped_calls + self._items.dropped_fragments

    def _take(self, plaintext: bytes) -> list[int]:
        """Add a chunk to the items; gives the text bytes of each delta. Raises AnswerTooLarge."""
        sizes: list[int] = []
        for delta in self._reader.read(plaintext):
            self._items.take(delta)
            sizes.append(delta.text_bytes)
            self._count(1, sizes[-1])
        return sizes

    def _count(self, deltas: int, text_bytes: int) -> None:
        self.deltas += deltas
        self.text_bytes += text_bytes
        if self.text_bytes > MAX_TEXT_BYTES:
            raise AnswerTooLarge

    def _end(self, usage: UsageReport, stop_sequence: str | None) -> Ending:
        """Close the items; says how the answer ended."""
        for delta in self._reader.flush():
            self._items.take(delta)
        ending = ending_of(
            self._reader.reported_reason,
            usage,
            requested_max=self._facts.requested_max,
            has_calls=self._reader.call_count > 0,
            stop_sequence=stop_sequence,
        )
        self._items.end(ending.status)
        return ending

    def _final(
        self,
        ending: Ending,
        usage: UsageReport,
        response_hash: str | None,
        se_signature: str | None,
        attachments: Mapping[str, object] | None,
    ) -> dict[str, object]:
        return self._snapshot.members(
            ending.status,
            output=self._items.json(),
            usage=usage_json(usage, reasoned=self._reader.reasoned),
            incomplete_reason=ending.reason,
            more=signature_members(response_hash, se_signature) | dict(attachments or {}),
        )


class ResponseStream(_Assembler):
    """A streamed response; a StreamAssembler, and a RunRaiser: its events are numbered."""

    def __init__(self, facts: AnswerFacts, echo: Mapping[str, object]) -> None:
        self._events = EventWriter()
        self._begun = False
        self._template: SpliceTemplate | None = None
        self._run_bytes = 0
        super().__init__(facts, echo, self._events)

    @property
    def template(self) -> SpliceTemplate | None:
        """See RunRaiser."""
        known = self._reader.input_template
        made = self._template
        if known is not None and (made is None or made[:2] != known[:2]):
            made = self._template = known._replace(out_suffix=_RUN_END)
        return made

    def feed(self, plaintext: bytes) -> list[Piece]:
        """See StreamAssembler."""
        if not self._begun:
            self._begin()
        sizes = self._take(plaintext)
        if not sizes:
            return []
        return [Piece(self._events.take(), content=True, deltas=len(sizes), text_bytes=sum(sizes))]

    def raise_run(self, bodies: bytes) -> bytes:
        """See RunRaiser."""
        self._run_bytes += len(bodies)
        if self.text_bytes + self._run_bytes > MAX_TEXT_BYTES:
            raise AnswerTooLarge
        say = self._items.say
        for body in bodies.split(_RUN_END)[:-1]:
            say(body)
        return self._events.take()

    def finish(
        self,
        usage: UsageReport,
        *,
        response_hash: str | None = None,
        se_signature: str | None = None,
        stop_sequence: str | None = None,
        attachments: Mapping[str, object] | None = None,
    ) -> bytes:
        """See StreamAssembler: the items are closed, then the whole response."""
        self._begin()
        ending = self._end(usage, stop_sequence)
        response = self._final(ending, usage, response_hash, se_signature, attachments)
        self._events.lifecycle(f"response.{ending.status}", response)
        return self._events.take()

    def fail(self, error: ApiError) -> bytes:
        """See StreamAssembler: a flat `error`, then the response as far as it got."""
        self._begin()
        self._items.abandon()
        fields = {"code": error.code, "message": error.message, "param": error.param}
        self._events.write("error", msgspec.json.encode(fields)[1:-1])
        response = self._snapshot.members("failed", output=self._items.json(), error=failure_json(error))
        self._events.lifecycle("response.failed", response)
        return self._events.take()

    def _begin(self) -> None:
        """The first two events, once; they go out with the first content."""
        if self._begun:
            return
        self._begun = True
        response = self._snapshot.members("in_progress")
        self._events.lifecycle("response.created", response)
        self._events.lifecycle("response.in_progress", response)


class ResponseAnswer(_Assembler):
    """A response in one piece; a WholeAssembler."""

    def __init__(self, facts: AnswerFacts, echo: Mapping[str, object]) -> None:
        super().__init__(facts, echo, None)

    @property
    def template(self) -> SpliceTemplate | None:
        """See WholeAssembler."""
        return self._reader.input_template

    def feed(self, plaintext: bytes) -> bool:
        """See WholeAssembler."""
        return bool(self._take(plaintext))

    def add_run(self, bodies: bytes, deltas: int, text_bytes: int) -> None:
        """See WholeAssembler."""
        self._items.say(bodies)
        self._count(deltas, text_bytes)

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
        ending = self._end(usage, stop_sequence)
        return self._final(ending, usage, response_hash, se_signature, attachments)
