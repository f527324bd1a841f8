"""Answers whose thoughts and calls stand between marks: most families."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from provider.engine.dialect.call_stream import CallStream
from provider.engine.dialect.calls import CallsRefused, Tools, parse_calls, tool_names
from provider.engine.dialect.family import JSON_PARSER, Dialect
from provider.engine.dialect.marks import MarkScanner
from provider.engine.dialect.parts import Content, Part, SpoiledCall, Thought


class _State(Enum):
    CONTENT = auto()
    THOUGHT = auto()
    CALL = auto()


class TaggedReader:
    """Reads thoughts, text and framed calls. `tools` empty: call marks are text, unless they are special tokens.

    Line ends after a mark are left out, and all blanks after a call. `streams_calls` shows arguments while they are
    generated, where calls are JSON. Of an answer that is forced to be a call (`is_forced`) the beginning of a mark at
    which it was cut is no text.
    """

    def __init__(
        self,
        dialect: Dialect,
        tools: Tools,
        *,
        in_thought: bool = False,
        streams_calls: bool = False,
        is_forced: bool = False,
    ) -> None:
        opens, self._think_end = dialect.think or ("", "")
        self._think_start: Final = opens
        self._call_start, self._call_end = (dialect.frame or ("", "")) if tools else ("", "")
        self._tools = tools
        self._is_forced = is_forced
        self._parser = dialect.parser
        self._scanner = MarkScanner()
        self._state = _State.THOUGHT if in_thought else _State.CONTENT
        self._names = tool_names(tools) if streams_calls and dialect.parser == JSON_PARSER else frozenset()
        self._call = CallStream(self._names)
        self._trim = ""
        dropped = set(dialect.dropped)
        content = {self._think_start, self._think_end, self._call_start, *dropped} - {""}
        thought = {self._think_end, *dropped} - {""}
        call = {self._call_end} - {""}
        self._marks = {
            _State.CONTENT: tuple(content),
            _State.THOUGHT: tuple(thought),
            _State.CALL: tuple(call),
        }

    @property
    def is_thinking(self) -> bool:
        """Whether the next text is reasoning."""
        return self._state is _State.THOUGHT

    @property
    def is_visible(self) -> bool:
        """Whether the next text is shown."""
        return self._state is _State.CONTENT

    def feed(self, text: str) -> Sequence[Part]:
        """Take a piece and return what is certain."""
        self._scanner.add(text)
        return self._cut(is_final=False)

    def flush(self, *, is_complete: bool) -> Sequence[Part]:
        """Return what was held; an open call ends with a complete answer and is dropped with one that was cut."""
        is_cut_mark = self._is_forced and not is_complete and self._state is _State.CONTENT
        parts = [] if is_cut_mark else self._cut(is_final=True)
        if self._state is _State.CALL:
            if is_complete:
                self._end_call(parts)
            self._call = CallStream(self._names)
        return parts

    def _cut(self, *, is_final: bool) -> list[Part]:
        parts: list[Part] = []
        while True:
            text, mark = self._scanner.cut(self._marks[self._state], is_final=is_final)
            self._take(text, parts)
            if not mark:
                return parts
            if self._state is _State.CALL and self._call.is_in_text:
                self._take(mark, parts)
            else:
                self._cross(mark, parts)

    def _take(self, text: str, parts: list[Part]) -> None:
        if self._state is _State.CALL:
            parts.extend(self._call.feed(text))
            return
        if self._trim:
            text = text.lstrip(self._trim)
        if not text:
            return
        self._trim = ""
        parts.append(Thought(text) if self._state is _State.THOUGHT else Content(text))

    def _cross(self, mark: str, parts: list[Part]) -> None:
        if self._state is _State.CALL:
            self._end_call(parts)
            self._state, self._trim = _State.CONTENT, " \t\r\n"
        elif mark == self._call_start:
            self._state = _State.CALL
        elif mark == self._think_start:
            self._state, self._trim = _State.THOUGHT, "\r\n"
        elif mark == self._think_end:
            self._state, self._trim = _State.CONTENT, "\r\n"

    def _end_call(self, parts: list[Part]) -> None:
        call, self._call = self._call, CallStream(self._names)
        if call.is_open:
            parts.append(call.close())
            return
        payload = call.payload
        try:
            parts.extend(parse_calls(self._parser, payload, self._tools))
        except CallsRefused:
            if payload:
                parts.append(SpoiledCall(payload))
