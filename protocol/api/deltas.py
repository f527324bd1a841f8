"""A provider's chat chunks read into plain deltas: what streams of other dialects than chat are made from.

Invariant: text, reasoning and tool-call fragments come in the order in which the provider sent them, calls numbered
from 0; nothing else of an untrusted chunk passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.api.chunk_reader import ChunkReader
from protocol.api.splice import TemplateKeeper, plain_text
from protocol.api.think import ThinkSplitter
from protocol.api.tool_calls import ToolCallNumbering

if TYPE_CHECKING:
    from native import SpliceTemplate
    from protocol.api.chunk import WireChoice

MAX_HELD_LOGPROB_BYTES: Final = 1024 * 1024
"""Log probabilities that wait for their text; beyond this, further ones are left out."""


class CallFragment(NamedTuple):
    """A piece of one tool call. `call_id` is set in the first fragment alone, `name` once, at the latest by then."""

    number: int
    call_id: str
    name: str
    arguments: str


class Delta(NamedTuple):
    """What one event adds, in this order: reasoning, text, refusal, tool-call fragments; one of them is not empty."""

    reasoning: str = ""
    text: str = ""
    refusal: str = ""
    calls: tuple[CallFragment, ...] = ()
    logprobs: bytes = b""
    """Log probabilities of the text's tokens: entries of a JSON array, on one line."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of all its text, names and arguments included."""
        text = self.reasoning + self.text + self.refusal
        size = len(text) if text.isascii() else len(text.encode())
        return size + sum(len(call.name.encode()) + len(call.arguments.encode()) for call in self.calls)


class ReadingAssembler:
    """What all assemblers say that read deltas; see Assembler."""

    def __init__(self, reader: DeltaReader) -> None:
        self._reader = reader
        self.deltas = 0
        self.text_bytes = 0

    @property
    def dropped_events(self) -> int:
        """Events that were no chunks."""
        return self._reader.dropped_events

    @property
    def dropped_calls(self) -> int:
        """Tool calls beyond the bound of one answer."""
        return self._reader.dropped_calls

    @property
    def ended(self) -> bool:
        """The provider named a finish reason or said `[DONE]`: no more text is due."""
        return self._reader.ended


class DeltaReader:
    """State of one answer. `job_hex` makes ids for calls that came without one."""

    def __init__(self, job_hex: str, *, split_think: bool = False) -> None:
        self._calls = ToolCallNumbering(job_hex)
        self._think = ThinkSplitter() if split_think else None
        self._templates = TemplateKeeper(b"", b"")
        self._chunks = ChunkReader()
        self._logprobs = b""
        """Of tokens whose text was empty, or is held back for a tag: they go with the next text."""
        self.reported_reason: str | None = None
        """The provider's finish reason, unchecked."""
        self.reasoned = False
        """Any reasoning text came."""

    @property
    def dropped_events(self) -> int:
        """Events that were no chunks."""
        return self._chunks.dropped_events

    @property
    def ended(self) -> bool:
        """The provider named a finish reason or said `[DONE]`: no more text is due."""
        return self._chunks.ended

    @property
    def call_count(self) -> int:
        """Tool calls so far."""
        return self._calls.count

    @property
    def dropped_calls(self) -> int:
        """Tool calls beyond the bound of one answer."""
        return self._calls.dropped

    @property
    def input_template(self) -> SpliceTemplate | None:
        """The input sides of plain content chunks, with empty output sides; None until one was seen."""
        return self._templates.current

    def read(self, plaintext: bytes) -> list[Delta]:
        """The deltas of one opened chunk; events that add nothing give none. Raises nothing."""
        known = self._templates.text_of(plaintext)
        if known is not None:  # the shape that was proven: nothing but its text is new
            return [Delta(text=known)]
        found: list[Delta] = []
        for choice in self._chunks.read(plaintext):
            plain = plain_text(choice) if self._think is None else None
            if plain is None:
                found += self._read_choice(choice)
                continue
            found.append(Delta(text=plain))
            if self._chunks.alone:
                self._templates.saw(plaintext, plain)
        return found

    def flush(self) -> list[Delta]:
        """What was held back for a `<think>` tag; call once, at the end of a complete answer."""
        if self._think is None:
            return []
        return self._delta(*self._think.flush(), "", ())

    def _read_choice(self, choice: WireChoice) -> list[Delta]:
        if choice.finish_reason is not None:
            self.reported_reason = choice.finish_reason
        if not choice.logprobs_absent() and len(self._logprobs) < MAX_HELD_LOGPROB_BYTES:
            entries = [bytes(entry) for entry in choice.logprob_entries()]
            self._logprobs = b",".join([self._logprobs, *entries] if self._logprobs else entries)
        delta = choice.added()
        text, reasoning = delta.content or "", delta.reasoning_text()
        if self._think is not None and text:
            text, thought = self._think.feed(text)
            reasoning += thought
        calls: list[CallFragment] = []
        for call in delta.tool_calls or ():
            placed = self._calls.place(call)
            function = placed["function"] if placed is not None else None
            if placed is not None and isinstance(function, dict) and isinstance(placed["index"], int):
                calls.append(
                    CallFragment(
                        placed["index"],
                        str(placed.get("id", "")),
                        function.get("name", ""),
                        function.get("arguments", ""),
                    )
                )
        return self._delta(text, reasoning, delta.refusal or "", tuple(calls))

    def _delta(self, text: str, reasoning: str, refusal: str, calls: tuple[CallFragment, ...]) -> list[Delta]:
        self.reasoned = self.reasoned or bool(reasoning)
        if not (text or reasoning or refusal or calls):
            return []
        logprobs = b""
        if text:
            logprobs, self._logprobs = self._logprobs, b""
        return [Delta(reasoning, text, refusal, calls, logprobs)]
