"""Finds a top-level member of a JSON object without parsing it; gives up (None) rather than be wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from native.shapes import MAX_DEPTH, MAX_SCAN_BYTES, BytesLike

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = re.compile(rb"[ \t\r\n]*+")
_PLAIN_STRING = re.compile(rb'"([^"\\]*+)"')
_ANY_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^,}\] \t\r\n]*+")
_STRUCTURE = re.compile(rb'["{}\[\]]')


class _Unsure(Exception):
    """The text is not plain enough for the scanner."""


class _Member(NamedTuple):
    key: bytes
    start: int
    end: int


def scan_type(buf: BytesLike) -> tuple[int, int] | None:
    """Span of the value of the top-level key `type`, quotes excluded; None if only a full decode can tell.

    For every text that a strict parser accepts as an object, a span means that the parser's last top-level key that
    folds to `type` holds exactly the string of that span. Bytes after the object's end are not looked at.
    """
    data = bytes(buf)
    found: tuple[int, int] | None = None
    try:
        for key, start, end in _members(data):
            if key.lower() != b"type":
                continue
            if key != b"type" or found is not None:
                return None
            value = _PLAIN_STRING.fullmatch(data, start, end)
            if value is None:
                return None
            found = value.span(1)
    except _Unsure:
        return None
    return found


def raw_span(buf: BytesLike, key: bytes) -> tuple[int, int] | None:
    """Span of the raw text of a top-level value, brackets or quotes included.

    None if the key is missing, occurs twice or in another letter case, or if the text is not plain enough to be sure.
    """
    data = bytes(buf)
    folded = key.lower()
    found: tuple[int, int] | None = None
    try:
        for name, start, end in _members(data):
            if name.lower() != folded:
                continue
            if name != key or found is not None or start == end:
                return None
            found = (start, end)
    except _Unsure:
        return None
    return found


def _members(data: bytes) -> Iterator[_Member]:
    """Every member of the object that `data` begins with; raises _Unsure where the scanner's rules end."""
    if len(data) > MAX_SCAN_BYTES:
        raise _Unsure
    pos = skip_space(data, 0)
    if data[pos : pos + 1] != b"{":
        raise _Unsure
    while True:
        key = _PLAIN_STRING.match(data, skip_space(data, pos + 1))
        if key is None:
            raise _Unsure
        pos = skip_space(data, key.end())
        if data[pos : pos + 1] != b":":
            raise _Unsure
        start = skip_space(data, pos + 1)
        end = _value_end(data, start)
        yield _Member(key[1], start, end)
        pos = skip_space(data, end)
        after = data[pos : pos + 1]
        if after == b"}":
            return
        if after != b",":
            raise _Unsure


def skip_space(data: bytes, pos: int) -> int:
    """First position at or after `pos` that holds no JSON white space."""
    match = _SPACE.match(data, pos)
    return pos if match is None else match.end()


def _value_end(data: bytes, start: int) -> int:
    first = data[start : start + 1]
    if first == b'"':
        return _string_end(data, start)
    if first in (b"{", b"["):
        return _nested_end(data, start)
    scalar = _SCALAR.match(data, start)
    return start if scalar is None else scalar.end()


def _string_end(data: bytes, start: int) -> int:
    match = _ANY_STRING.match(data, start)
    if match is None:
        raise _Unsure
    return match.end()


def _nested_end(data: bytes, start: int) -> int:
    """End of an object or array: brackets are counted, not paired."""
    depth = 1
    pos = start
    while (match := _STRUCTURE.search(data, pos)) is not None:
        pos = match.end()
        char = match[0]
        if char == b'"':
            pos = _string_end(data, pos - 1)
        elif char in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise _Unsure
        else:
            depth -= 1
            if depth == 1:
                return pos
    raise _Unsure
