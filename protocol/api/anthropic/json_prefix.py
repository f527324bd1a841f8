"""Judges JSON text that comes in pieces: how much of it can still become one JSON value, and whether it is one already.

Clients parse the arguments of a tool call while they stream and fail on text that cannot become JSON, so nothing
behind the first wrong character may reach them (RFC 8259).
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

MAX_DEPTH: Final = 128
_MAX_NUMBER: Final = 4096

_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
_NUMBER_CHARACTERS: Final = re.compile(r"[-+0-9.eE]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBER_START: Final = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|(?:0|[1-9][0-9]*)(?:\.[0-9]+)?[eE][-+]?[0-9]*)?"
)
_LITERALS: Final = {"t": "true", "f": "false", "n": "null"}
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class _Next(Enum):
    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()
    IN_STRING = auto()
    IN_ESCAPE = auto()
    IN_HEX = auto()
    IN_LITERAL = auto()
    IN_NUMBER = auto()


class JsonPrefix:
    """One value in pieces. `feed` gives the part of a piece that may be passed on: all of it while nothing is wrong."""

    def __init__(self) -> None:
        self.broken = False
        self._next = _Next.VALUE
        self._closers: list[str] = []
        self._is_key = False
        self._hex_left = 0
        self._rest = ""
        """Of a literal."""
        self._number = ""

    @property
    def complete(self) -> bool:
        """One whole value came, and nothing wrong behind it."""
        return not self.broken and self._next is _Next.NOTHING

    def feed(self, text: str) -> str:
        """Take a piece; raises nothing."""
        place: int | None = 0 if not self.broken else None
        taken = 0
        while place is not None and place < len(text):
            taken, place = place, self._step(text, place)
        return text if place is not None else text[:taken]

    def _step(self, text: str, place: int) -> int | None:
        """Take one token, or what there is of it, at `place`; gives the place behind it, None if it is wrong."""
        after = self._token(text, place)
        return None if self.broken else after

    def _token(self, text: str, place: int) -> int:
        match self._next:
            case _Next.IN_STRING:
                return self._string(text, place)
            case _Next.IN_ESCAPE | _Next.IN_HEX:
                return self._escape(text, place)
            case _Next.IN_LITERAL:
                return self._literal(text, place)
            case _Next.IN_NUMBER:
                return self._in_number(text, place)
        after = _end(_BLANKS, text, place)
        if after > place:
            return after
        return place + self._structure(text[place])

    def _structure(self, char: str) -> int:
        """Take a character between the tokens; gives 0 for the first one of a number, which is read again."""
        match self._next:
            case _Next.COLON if char == ":":
                self._next = _Next.VALUE
            case _Next.COMMA_OR_END if char == ",":
                self._next = _Next.KEY if self._closers[-1] == "}" else _Next.VALUE
            case _Next.COMMA_OR_END | _Next.KEY_OR_END | _Next.VALUE_OR_END if char == self._closers[-1]:
                self._closers.pop()
                self._value_over()
            case _Next.KEY | _Next.KEY_OR_END if char == '"':
                self._next, self._is_key = _Next.IN_STRING, True
            case _Next.VALUE | _Next.VALUE_OR_END:
                return self._value(char)
            case _:
                self.broken = True
        return 1

    def _value(self, char: str) -> int:
        if char == '"':
            self._next, self._is_key = _Next.IN_STRING, False
        elif char in "{[" and len(self._closers) < MAX_DEPTH:
            self._closers.append("}" if char == "{" else "]")
            self._next = _Next.KEY_OR_END if char == "{" else _Next.VALUE_OR_END
        elif char in _LITERALS:
            self._next, self._rest = _Next.IN_LITERAL, _LITERALS[char][1:]
        elif char == "-" or (char.isascii() and char.isdigit()):
            self._next, self._number = _Next.IN_NUMBER, ""
            return 0
        else:
            self.broken = True
        return 1

    def _string(self, text: str, place: int) -> int:
        after = _end(_PLAIN, text, place)
        if after > place:
            return after
        if text[place] == "\\":
            self._next = _Next.IN_ESCAPE
        elif text[place] != '"':
            self.broken = True
        elif self._is_key:
            self._next = _Next.COLON
        else:
            self._value_over()
        return place + 1

    def _escape(self, text: str, place: int) -> int:
        char = text[place]
        if self._next is _Next.IN_HEX:
            self.broken = char not in _HEX
            self._hex_left -= 1
        elif char == "u":
            self._next, self._hex_left = _Next.IN_HEX, 4
        else:
            self.broken = char not in '"\\/bfnrt'
        if self._next is _Next.IN_ESCAPE or self._hex_left == 0:
            self._next = _Next.IN_STRING
        return place + 1

    def _literal(self, text: str, place: int) -> int:
        if text[place] != self._rest[0]:
            self.broken = True
            return place
        self._rest = self._rest[1:]
        if not self._rest:
            self._value_over()
        return place + 1

    def _in_number(self, text: str, place: int) -> int:
        after = _end(_NUMBER_CHARACTERS, text, place)
        number = self._number + text[place:after]
        if after == len(text):
            self._number = number
            self.broken = len(number) > _MAX_NUMBER or _NUMBER_START.fullmatch(number) is None
        elif _NUMBER.fullmatch(number) is None:
            self.broken = True
        else:
            self._value_over()
        return after

    def _value_over(self) -> None:
        self._next = _Next.COMMA_OR_END if self._closers else _Next.NOTHING


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return place if found is None else found.end()
