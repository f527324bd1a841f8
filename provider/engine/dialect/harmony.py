"""Answers in Harmony framing: messages with a header that names their channel, each ended by a mark.

``analysis`` is reasoning, ``final`` is text, ``commentary`` with a recipient is a tool call and without one is text.
"""

import json
import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from provider.engine.dialect.calls import MAX_PAYLOAD_CHARACTERS, read_json_call
from provider.engine.dialect.family import HARMONY_MARKS
from provider.engine.dialect.marks import MarkScanner
from provider.engine.dialect.parts import Call, Content, Part, SpoiledCall, Thought

MAX_HEADER_CHARACTERS: Final = 4096

_RECIPIENT: Final = re.compile(r"to=(?:functions\.)?([A-Za-z0-9_.\-]{1,256})")
_MESSAGE: Final = "<|message|>"
_HEADER_MARKS: Final = frozenset({"<|start|>", "<|channel|>"})
_NEUTRAL_MARKS: Final = frozenset({"<|constrain|>"})


class _State(Enum):
    HEADER = auto()
    CONTENT = auto()
    THOUGHT = auto()
    CALL = auto()


class HarmonyReader:
    """Reads one turn. `prompt_tail` is the end of the rendered prompt, which may have opened the first message."""

    def __init__(self, prompt_tail: str = "", *, has_tools: bool = False) -> None:
        self._has_tools = has_tools
        self._scanner = MarkScanner()
        self._state = _State.HEADER
        self._header: list[str] = []
        self._is_framed = False
        self._function = ""
        self._payload: list[str] = []
        opened = prompt_tail.rpartition("<|start|>")[2]
        channel = opened.partition("<|channel|>")
        header, message, _ = opened.partition(_MESSAGE)
        if message:
            self._is_framed = True
            self._open(header)
        elif channel[1]:
            self._is_framed = True
            self._header.append(header)

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
        """End the turn: its last call counts if the answer is complete; text without any frame is shown."""
        parts = self._cut(is_final=True)
        if self._state is _State.CALL and is_complete:
            self._end_message(parts)
        elif not self._is_framed and (text := "".join(self._header)):
            parts.append(Content(text))
        self._header.clear()
        self._payload.clear()
        return parts

    def _cut(self, *, is_final: bool) -> list[Part]:
        parts: list[Part] = []
        while True:
            text, mark = self._scanner.cut(HARMONY_MARKS, is_final=is_final)
            if text:
                self._take(text, parts)
            if not mark:
                return parts
            self._cross(mark, parts)

    def _take(self, text: str, parts: list[Part]) -> None:
        match self._state:
            case _State.HEADER:
                if sum(map(len, self._header)) < MAX_HEADER_CHARACTERS:
                    self._header.append(text)
            case _State.CALL:
                self._payload.append(text)
            case _State.THOUGHT:
                parts.append(Thought(text))
            case _State.CONTENT:
                parts.append(Content(text))

    def _cross(self, mark: str, parts: list[Part]) -> None:
        self._is_framed = True
        if mark in _NEUTRAL_MARKS:
            if self._state is _State.HEADER:
                self._header.append(" ")
        elif mark == _MESSAGE:
            if self._state is _State.HEADER:
                self._open("".join(self._header))
        elif mark in _HEADER_MARKS and self._state is _State.HEADER:
            self._header.append(" ")
        else:
            self._end_message(parts)
            self._state = _State.HEADER
            self._header.clear()

    def _open(self, header: str) -> None:
        """Begin the message that a header announces."""
        recipient = _RECIPIENT.search(header)
        if recipient is not None and self._has_tools:
            self._state, self._function = _State.CALL, recipient[1]
        elif "analysis" in header:
            self._state = _State.THOUGHT
        else:
            self._state = _State.CONTENT
        self._header.clear()

    def _end_message(self, parts: list[Part]) -> None:
        if self._state is not _State.CALL:
            return
        payload = "".join(self._payload)
        self._payload.clear()
        parts.append(_call(self._function, payload))


def _call(name: str, payload: str) -> Call | SpoiledCall:
    try:
        arguments: object = json.loads(payload) if payload.strip() else {}
        if len(payload) <= MAX_PAYLOAD_CHARACTERS and isinstance(arguments, dict):
            call = read_json_call({"name": name, "arguments": arguments})
            if call is not None:
                return call
    except (ValueError, RecursionError):
        pass
    return SpoiledCall(payload)
