"""One answer as server-sent events: what the engine reports becomes content, reasoning, calls and an end; pure.

Invariant: `hasher` has taken exactly the text of the events that were returned, each call once, when it was complete.
"""

import os
from collections.abc import Sequence
from typing import Final, assert_never

from protocol.response_hash import ResponseHasher
from provider.engine import Delta, Finished, FinishReason
from provider.engine.dialect import (
    Call,
    CallArguments,
    CallBroken,
    CallClosed,
    CallOpened,
    Content,
    Part,
    SpoiledCall,
    Thought,
)
from provider.requests.frames import DONE, EventWriter, FinishWord
from provider.requests.plan import AnswerPlan
from provider.requests.refusal import NONCOMPLIANT, RequestRefused
from provider.requests.token_logprobs import Entry, entries

MAX_PENDING_ENTRIES: Final = 4096
"""Log-probabilities that wait for their text; beyond that the oldest are dropped and counted."""


class Narration:
    """State of one answer. Without a `hasher` nothing is collected for a signature."""

    def __init__(self, *, writer: EventWriter, plan: AnswerPlan, hasher: ResponseHasher | None = None) -> None:
        self.has_output = False
        self.spoiled_calls = 0
        self.dropped_logprobs = 0
        self._writer = writer
        self._plan = plan
        self._hasher = hasher
        self._reader = plan.reader()
        self._opened = False
        self._calls = 0
        self._names: set[str] = set()
        self._call_id = ""
        self._has_broken_call = False
        self._tokens = 0
        self._reasoning_tokens = 0
        self._pending: list[Entry] = []
        self._shown: list[str] = []

    def delta(self, delta: Delta) -> list[bytes]:
        """Return the events of one piece of text; none while all of it is held back."""
        if self._reader is None and not delta.logprobs:
            return [*self._open(), self._text(delta.text)]
        self._tokens += delta.tokens
        reader = self._reader
        if reader is None:
            self._describe(delta)
            return [*self._open(), self._text(delta.text)]
        if reader.is_thinking:
            self._reasoning_tokens += delta.tokens
        was_visible = reader.is_visible
        parts = reader.feed(delta.text)
        if delta.logprobs and (was_visible or any(isinstance(part, Content) for part in parts)):
            self._describe(delta)
        if not reader.is_visible and not any(isinstance(part, Content) for part in parts):
            self._pending.clear()
        return self._events(parts)

    def end(self, finished: Finished) -> list[bytes]:
        """Return the events that close an answer which ended by itself.

        Raises `RequestRefused` if calls or text are not what was asked for.
        """
        events = self._flush(is_complete=finished.reason is FinishReason.STOP)
        if not self._complies(is_whole=finished.reason is FinishReason.STOP):
            raise RequestRefused(NONCOMPLIANT)
        word: FinishWord = "length" if finished.reason is FinishReason.LENGTH else "stop"
        if word == "stop" and self._calls:
            word = "tool_calls"
        usage = self._writer.usage(finished.usage, self.reasoning_tokens(finished))
        return [*self._open(), *events, self._writer.finish(word), usage, DONE]

    def reasoning_tokens(self, finished: Finished) -> int:
        """Return how many of the sampled tokens were reasoning; those without text count for where they came."""
        counted = self._reasoning_tokens
        if self._reader is not None and self._reader.is_thinking:
            counted += max(0, finished.usage.completion_tokens - self._tokens)
        return min(counted, finished.usage.completion_tokens)

    def _complies(self, *, is_whole: bool) -> bool:
        """Whether calls and text are what was asked for; one that was cut short need not have come to its call."""
        plan = self._plan
        if (plan.one_call and self._calls > 1) or (plan.only_tool is not None and self._names - {plan.only_tool}):
            return False
        if not is_whole:
            return True
        if self._has_broken_call:
            return False
        if plan.must_call and not self._calls:
            return False
        return plan.check is None or plan.check.fits("".join(self._shown))

    def _flush(self, *, is_complete: bool) -> list[bytes]:
        if self._reader is None:
            return []
        return self._events(self._reader.flush(is_complete=is_complete))

    def _events(self, parts: Sequence[Part]) -> list[bytes]:
        if not parts:
            return []
        events = self._open()
        for part in parts:
            match part:
                case Content(text):
                    events.append(self._text(text))
                case Thought(text):
                    self._add(text)
                    events.append(self._writer.reasoning(text))
                case SpoiledCall(text):
                    self.spoiled_calls += 1
                    events.append(self._text(text))
                case Call(name, arguments):
                    events.append(self._begin_call(name, arguments))
                    self._end_call(name, arguments)
                case CallOpened(name):
                    events.append(self._begin_call(name, ""))
                case CallArguments(text):
                    events.append(self._writer.tool_arguments(self._calls - 1, text))
                case CallClosed(name, arguments):
                    self._end_call(name, arguments)
                case CallBroken():
                    self._has_broken_call = True
                case _:
                    assert_never(part)
        return events

    def _open(self) -> list[bytes]:
        """What opens the stream, once, with the first thing that follows."""
        if self._opened:
            return []
        self._opened = True
        first = self._writer.first()
        return [] if first is None else [first]

    def _text(self, text: str) -> bytes:
        self._add(text)
        if self._plan.check is not None:
            self._shown.append(text)
        if not self._pending:
            return self._writer.content(text)
        pending, self._pending = self._pending, []
        return self._writer.content_with(text, pending)

    def _begin_call(self, name: str, arguments: str) -> bytes:
        number, self._calls = self._calls, self._calls + 1
        self._names.add(name)
        self._call_id = "call_" + os.urandom(12).hex()
        self.has_output = True
        return self._writer.tool_call(number, self._call_id, name, arguments)

    def _end_call(self, name: str, arguments: str) -> None:
        if self._hasher is not None:
            function = {"name": name, "arguments": arguments}
            self._hasher.add_tool_call({"id": self._call_id, "type": "function", "function": function})

    def _add(self, text: str) -> None:
        self.has_output = True
        if self._hasher is not None:
            self._hasher.add_text(text)

    def _describe(self, delta: Delta) -> None:
        dialect = self._plan.dialect
        hidden = () if dialect is None else (*(dialect.think or ()), *dialect.dropped)
        self._pending += entries(delta.logprobs, self._plan.vocabulary, hidden)
        excess = max(0, len(self._pending) - MAX_PENDING_ENTRIES)
        self.dropped_logprobs += excess
        del self._pending[:excess]
