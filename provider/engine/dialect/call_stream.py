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
    """The payload of one frame; `names` are the tools that may be called."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._state = _State.HEAD
        self._payload = ""
        self._arguments_at = 0
        self._scanned = 0
        self._depth = 0
        self._in_string = False

    @property
    def is_open(self) -> bool:
        """Whether anything of the call was shown."""
        return self._state in (_State.ARGUMENTS, _State.TAIL)

    @property
    def payload(self) -> str:
        """All text so far."""
        return self._payload

    def feed(self, text: str) -> Sequence[Part]:
        """Take a piece of the payload and return what can be shown."""
        self._payload += text
        parts: list[Part] = []
        if self._state is _State.HEAD:
            self._read_head(parts)
        if self._state is _State.ARGUMENTS and len(self._payload) <= MAX_PAYLOAD_CHARACTERS:
            self._read_arguments(parts)
        return parts

    def close(self) -> CallClosed | CallBroken:
        """End a call of which something was shown."""
        try:
            whole = json.loads(self._payload, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return CallBroken()
        if self._state is not _State.TAIL or not isinstance(whole, dict):
            return CallBroken()
        return CallClosed(whole["name"], self._payload[self._arguments_at : self._scanned])

    def _read_head(self, parts: list[Part]) -> None:
        head = _HEAD.match(self._payload)
        if head is None:
            if len(self._payload) > MAX_HEAD_CHARACTERS:
                self._state = _State.HELD
            return
        name = _name(head[1])
        if name not in self._names:
            self._state = _State.HELD
            return
        self._state = _State.ARGUMENTS
        self._arguments_at = self._scanned = head.end()
        parts.append(CallOpened(name))

    def _read_arguments(self, parts: list[Part]) -> None:
        began = at = self._scanned
        while self._state is _State.ARGUMENTS:
            found = _STRUCTURE.search(self._payload, at)
            if found is None:
                at = len(self._payload)
                break
            at = found.end()
            if found[0] == "\\":
                if at == len(self._payload):  # what it escapes is still to come
                    at -= 1
                    break
                at += 1
            elif found[0] == '"':
                self._in_string = not self._in_string
            elif not self._in_string:
                self._depth += 1 if found[0] in "{[" else -1
                if self._depth == 0:
                    self._state = _State.TAIL
        self._scanned = at
        if at > began:
            parts.append(CallArguments(self._payload[began:at]))


def _name(literal: str) -> str:
    try:
        return str(json.loads(literal))
    except ValueError:
        return ""


def _refuse(constant: str) -> object:
    raise ValueError(constant)
