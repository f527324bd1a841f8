"""Judges JSON text that comes in pieces: how much of it can still become one JSON value, and whether it is one already.

Clients parse the arguments of a tool call while they stream and fail on text that cannot become JSON, so nothing
behind the first wrong character may reach them (RFC 8259).
"""

from __future__ import annotations

import re
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

# What may come next. Plain numbers: members of an enum cost more than everything else that a short piece needs.
_VALUE: Final = 0
_VALUE_OR_END: Final = 1
_KEY: Final = 2
_KEY_OR_END: Final = 3
_COLON: Final = 4
_COMMA_OR_END: Final = 5
_NOTHING: Final = 6
_IN_STRING: Final = 7
_IN_ESCAPE: Final = 8
_IN_HEX: Final = 9
_IN_LITERAL: Final = 10
_IN_NUMBER: Final = 11

_WRONG: Final = -1


class JsonPrefix:
    """One value in pieces. `feed` gives the part of a piece that may be passed on: all of it while nothing is wrong."""

    def __init__(self) -> None:
        self.broken = False
        self._next = _VALUE
        self._closers: list[str] = []
        self._is_key = False
        self._hex_left = 0
        self._rest = ""
        """Of a literal."""
        self._number = ""

    @property
    def complete(self) -> bool:
        """One whole value came, and nothing wrong behind it."""
        return not self.broken and self._next == _NOTHING

    def feed(self, text: str) -> str:
        """Take a piece; raises nothing."""
        if self.broken:
            return ""
        place, end = 0, len(text)
        while place < end:
            after = self._token(text, place)
            if after == _WRONG:
                self.broken = True
                return text[:place]
            place = after
        return text

    def _token(self, text: str, place: int) -> int:
        """Take one token, or what there is of it, at `place`; gives the place behind it, or that it is wrong."""
        state = self._next
        if state == _IN_STRING:
            return self._string(text, place)
        if state < _IN_STRING:
            char = text[place]
            return _end(_BLANKS, text, place) if char in " \t\n\r" else self._structure(char, text, place)
        if state == _IN_NUMBER:
            return self._in_number(text, place)
        if state == _IN_LITERAL:
            return self._literal(text, place)
        return self._escape(text, place)

    def _structure(self, char: str, text: str, place: int) -> int:
        """Take a character between the tokens, and a string that it opens."""
        state = self._next
        if char == '"' and state <= _KEY_OR_END:
            self._next, self._is_key = _IN_STRING, state >= _KEY
            return self._string(text, place + 1) if place + 1 < len(text) else place + 1
        if state == _COMMA_OR_END and char == ",":
            self._next = _KEY if self._closers[-1] == "}" else _VALUE
        elif state == _COLON and char == ":":
            self._next = _VALUE
        elif state in (_COMMA_OR_END, _KEY_OR_END, _VALUE_OR_END) and char == self._closers[-1]:
            self._closers.pop()
            self._value_over()
        elif state <= _VALUE_OR_END:
            return self._value(char, place)
        else:
            return _WRONG
        return place + 1

    def _value(self, char: str, place: int) -> int:
        """Take the first character of a value that is no string."""
        if char in "{[" and len(self._closers) < MAX_DEPTH:
            self._closers.append("}" if char == "{" else "]")
            self._next = _KEY_OR_END if char == "{" else _VALUE_OR_END
        elif char in _LITERALS:
            self._next, self._rest = _IN_LITERAL, _LITERALS[char][1:]
        elif char == "-" or (char.isascii() and char.isdigit()):
            self._next, self._number = _IN_NUMBER, ""
            return place  # it is read again, as a part of the number
        else:
            return _WRONG
        return place + 1

    def _string(self, text: str, place: int) -> int:
        after = _end(_PLAIN, text, place)
        if after == len(text):
            return after
        if text[after] == "\\":
            self._next = _IN_ESCAPE
        elif text[after] != '"':
            return after if after > place else _WRONG
        elif self._is_key:
            self._next = _COLON
        else:
            self._value_over()
        return after + 1

    def _escape(self, text: str, place: int) -> int:
        char = text[place]
        if self._next == _IN_HEX:
            self._hex_left -= 1
            if char not in _HEX:
                return _WRONG
        elif char == "u":
            self._next, self._hex_left = _IN_HEX, 4
        elif char not in '"\\/bfnrt':
            return _WRONG
        if self._next == _IN_ESCAPE or self._hex_left == 0:
            self._next = _IN_STRING
        return place + 1

    def _literal(self, text: str, place: int) -> int:
        if text[place] != self._rest[0]:
            return _WRONG
        self._rest = self._rest[1:]
        if not self._rest:
            self._value_over()
        return place + 1

    def _in_number(self, text: str, place: int) -> int:
        after = _end(_NUMBER_CHARACTERS, text, place)
        number = self._number + text[place:after]
        if after == len(text):
            self._number = number
            return after if len(number) <= _MAX_NUMBER and _NUMBER_START.fullmatch(number) else _WRONG
        if _NUMBER.fullmatch(number) is None:
            return _WRONG
        self._value_over()
        return after

    def _value_over(self) -> None:
        self._next = _COMMA_OR_END if self._closers else _NOTHING


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return place if found is None else found.end()
