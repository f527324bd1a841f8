"""A framed JSON call whose arguments are shown while they are generated.

Only for answers that a grammar holds to calls of this form: what was shown of a call cannot be taken back.
"""

import json
import re
from collections.abc import Collection, Sequence
from enum import Enum, auto
from typing import Final

from provider.engine.dialect.calls import MAX_PAYLOAD_CHARACTERS
from provider.engine.dialect.parts import CallArguments, CallBroken, CallClosed, CallOpened, Part

MAX_HEAD_CHARACTERS: Final = 1024

_HEAD: Final = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')
_STRUCTURE: Final = re.compile(r'["\\{}\[\]]')


class _State(Enum):
    HEAD = auto()
    ARGUMENTS = auto()
    TAIL = auto()
    HELD = auto()
    """It does not begin like a call of a known tool, and is read as a whole."""


class CallStream:
    """The payload of one frame; `names` are the tools whose calls are shown early, none: it is only collected."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._state = _State.HEAD if names else _State.HELD
        self._pieces: list[str] = []
        self._length = 0
        self._shown: list[str] = []
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    @property
    def is_open(self) -> bool:
        """Whether anything of the call was shown."""
        return self._state in (_State.ARGUMENTS, _State.TAIL)

    @property
    def is_in_text(self) -> bool:
        """Whether a JSON string of the arguments is open, in which a mark is text."""
        return self._state is _State.ARGUMENTS and self._in_string

    @property
    def payload(self) -> str:
        """All text so far."""
        return "".join(self._pieces)

    def feed(self, text: str) -> Sequence[Part]:
        """Take a piece of the payload and return what can be shown."""
        self._pieces.append(text)
        self._length += len(text)
        parts: list[Part] = []
        if self._state is _State.HEAD:
            text = self._read_head(parts)
        if self._state is _State.ARGUMENTS and text and self._length <= MAX_PAYLOAD_CHARACTERS:
            shown = text[: self._end_of_arguments(text)]
            self._shown.append(shown)
            parts.append(CallArguments(shown))
        return parts

    def close(self) -> CallClosed | CallBroken:
        """End a call of which something was shown."""
        try:
            whole = json.loads(self.payload, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return CallBroken()
        if self._state is not _State.TAIL or not isinstance(whole, dict):
            return CallBroken()
        return CallClosed(whole["name"], "".join(self._shown))

    def _read_head(self, parts: list[Part]) -> str:
        """Look for the name; gives what stands behind the head, once that is complete."""
        text = self.payload
        head = _HEAD.match(text)
        if head is None:
            if self._length > MAX_HEAD_CHARACTERS:
                self._state = _State.HELD
            return ""
        name = _name(head[1])
        if name not in self._names:
            self._state = _State.HELD
            return ""
        self._state = _State.ARGUMENTS
        parts.append(CallOpened(name))
        return text[head.end() :]

    def _end_of_arguments(self, text: str) -> int:
        """Where in a piece the arguments' object ends; its length if it goes on."""
        at = 0
        while at < len(text):
            if self._is_escaped:
                self._is_escaped = False
                at += 1
                continue
            found = _STRUCTURE.search(text, at)
            if found is None:
                break
            at = found.end()
            if found[0] == "\\":
                self._is_escaped = self._in_string
            elif found[0] == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if found[0] in "{[" else -1
                if self._depth == 0:
                    self._state = _State.TAIL
                    return at
        return len(text)


def _name(literal: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        return ""


def _refuse(constant: str) -> object:
    raise ValueError(constant)
