"""The body of one HTTP/1.1 request: a counter and a chunk decoder, bytes in, content out.

Invariant: the end and the content found here are those that h11 finds, for any split of the bytes (held by a property
test).
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from server.listener.head import HEADER_LINE, find_head_end

MAX_CHUNK_LINE_BYTES: Final = 4 * 1024
MAX_TRAILER_BYTES: Final = 16 * 1024

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;.*)?[ \t]*\r\n")


class FramingError(Exception):
    """The chunked body is malformed; the rest of the connection cannot be cut into requests."""


class BodyFramer(Protocol):
    """Follows one body; `complete` is True from its end on."""

    complete: bool

    def take(self, buffer: bytearray) -> bytes:
        """Remove this body's bytes from the front of `buffer` and return their content."""


class CountedBody:
    """A body of a known length in bytes; zero is complete from the start."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def take(self, buffer: bytearray) -> bytes:
        """Take at most what is left of the announced length."""
        content = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(content)
        self.complete = self._left == 0
        return content


class ChunkedBody:
    """A body in chunked coding (RFC 9112 7.1), trailers included."""

    def __init__(self) -> None:
        self.complete = False
        self._line = bytearray()
        self._data_left = 0
        self._end_left = b""  # what of the line end behind a chunk's data is still to come
        self._in_trailer = False
        self._content = bytearray()

    def take(self, buffer: bytearray) -> bytes:
        """Decode sizes, data and trailers; raises FramingError for what is malformed. Trailers are dropped."""
        del buffer[: self._follow(buffer)]
        content = bytes(self._content)
        self._content.clear()
        return content

    def _follow(self, data: bytearray) -> int:
        position = 0
        while position < len(data) and not self.complete:
            if self._data_left:
                taken = data[position : position + self._data_left]
                self._content += taken
                self._data_left -= len(taken)
                position += len(taken)
            elif self._end_left:
                if data[position] != self._end_left[0]:
                    raise FramingError("The data of a chunk is not followed by a line end.")
                self._end_left = self._end_left[1:]
                position += 1
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
            self._data_left = size
            self._end_left = b"\r\n" if size else b""
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
        lines = bytes(self._line[:end]).split(b"\n")[:-2]
        if not all(HEADER_LINE.fullmatch(line.removesuffix(b"\r")) for line in lines):
            raise FramingError("A trailer line is malformed.")
        self.complete = True
        return position + end - before


def body_framer(content_length: int | None) -> BodyFramer:
    """Return the follower for a body of this length, or for a chunked one when the length is None."""
    return ChunkedBody() if content_length is None else CountedBody(content_length)
