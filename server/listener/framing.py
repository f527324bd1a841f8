"""Where the body of one HTTP/1.1 request ends: a counter and a chunk follower, bytes in, number of bytes out.

Invariant: the end found here is the end that h11 finds, for any split of the bytes (held by a property test).
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from server.listener.head import find_head_end

MAX_CHUNK_LINE_BYTES: Final = 4 * 1024
MAX_TRAILER_BYTES: Final = 16 * 1024

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;.*)?[ \t]*\r\n")


class FramingError(Exception):
    """The chunked body is malformed; the rest of the connection cannot be cut into requests."""


class BodyFramer(Protocol):
    """Follows one body: `feed` takes the next bytes and returns how many of them belong to the body."""

    complete: bool

    def feed(self, data: bytearray) -> int:
        """Return how many leading bytes of `data` belong to this body; sets `complete` at its end."""


class CountedBody:
    """A body of a known length in bytes; zero is complete from the start."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def feed(self, data: bytearray) -> int:
        """Take at most what is left of the announced length."""
        taken = min(self._left, len(data))
        self._left -= taken
        self.complete = self._left == 0
        return taken


class ChunkedBody:
    """A body in chunked coding (RFC 9112 7.1), trailers included."""

    def __init__(self) -> None:
        self.complete = False
        self._line = bytearray()
        self._data_left = 0
        self._in_trailer = False

    def feed(self, data: bytearray) -> int:
        """Follow sizes, data and trailers; raises FramingError where h11 would refuse."""
        position = 0
        while position < len(data) and not self.complete:
            if self._data_left:
                taken = min(self._data_left, len(data) - position)
                self._data_left -= taken
                position += taken
            elif self._in_trailer:
                position = self._follow_trailer(data, position)
            else:
                position = self._follow_size_line(data, position)
        return position

    def _follow_size_line(self, data: bytearray, position: int) -> int:
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._line += data[position:stop]
        if len(self._line) > MAX_CHUNK_LINE_BYTES:
            raise FramingError("A chunk size line is longer than 4 KiB.")
        if end >= 0:
            match = _CHUNK_LINE.fullmatch(self._line)
            if match is None:
                raise FramingError("A chunk size line is malformed.")
            size = int(match[1], 16)
            self._data_left = size + 2 if size else 0  # the data and its CRLF
            self._in_trailer = size == 0
            self._line.clear()
        return stop

    def _follow_trailer(self, data: bytearray, position: int) -> int:
        before = len(self._line)
        self._line += data[position:]
        if self._line.startswith((b"\n", b"\r\n")):
            end: int | None = 1 if self._line[0] == 0x0A else 2
        elif self._line == b"\r":
            end = None
        else:
            end = find_head_end(self._line, before)
        if end is None:
            if len(self._line) > MAX_TRAILER_BYTES:
                raise FramingError("The trailers are longer than 16 KiB.")
            return len(data)
        self.complete = True
        return position + end - before


def body_framer(content_length: int | None) -> BodyFramer:
    """Return the follower for a body of this length, or for a chunked one when the length is None."""
    return ChunkedBody() if content_length is None else CountedBody(content_length)
