"""A provider's chunks read into choices, wherever the provider cut its events.

Invariant: an event is read once, in order; one that is cut into several chunks is read when its last piece came.
"""

from __future__ import annotations

from typing import Final

from protocol.api import sse
from protocol.api.chunk import WireChoice, read_chunk

MAX_HELD_BYTES: Final = 256 * 1024
MAX_HELD_PIECES: Final = 4096
MAX_LOOKED_AT: Final = 1024 * 1024
"""An event that needs more chunks, or more bytes, is dropped, as is one that seems to end again and again: each look is
at all that came before.
"""

_ENDS: Final = (b"}", b"]")
_TAIL: Final = 64


class ChunkReader:
    """State of one attempt. Sans-IO, raises nothing."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._looked_at = 0
        self._dropped = 0
        self.ended = False
        """The provider named a finish reason or said `[DONE]`: no more text is due."""
        self.alone = False
        """The chunk that was read last is one event, whole and with nothing before it."""

    @property
    def dropped_events(self) -> int:
        """Events that were no chunks, or are not whole."""
        return self._dropped + bool(self._held)

    def read(self, plaintext: bytes) -> list[WireChoice]:
        """The choices of one opened chunk: any number of events, any line ends, cut anywhere."""
        self.alone = False
        if self._held:
            return self._read_on(plaintext)
        if sse.is_done(plaintext):
            self.ended = True
            return []
        found: list[WireChoice] = []
        payloads, rest = sse.split_stream(plaintext)
        for payload in payloads:
            self._dropped += not self._take(payload, found)
        if not rest:
            self.alone = len(payloads) == 1
        elif self._take_whole(rest, found):
            self.alone = not payloads
        else:
            self._hold(rest)
        return found

    def _read_on(self, plaintext: bytes) -> list[WireChoice]:
        found: list[WireChoice] = []
        if not _may_end(plaintext):
            self._hold(plaintext)
            return found
        whole = b"".join((*self._held, plaintext))
        self._looked_at += len(whole)
        if self._looked_at > MAX_LOOKED_AT:
            self._lose()
            return found
        payloads, rest = sse.split_stream(whole)
        if payloads:
            if not self._take(payloads[0], found):
                self._lose()  # it belonged to nothing: the chunk stands for itself
                return self.read(plaintext)
            self._forget()
            for payload in payloads[1:]:
                self._dropped += not self._take(payload, found)
        if self._take_whole(rest, found):
            self._forget()
        elif not payloads and self._take_whole(plaintext, found):
            self._lose()
        elif payloads:
            self._hold(rest)
        else:
            self._hold(plaintext)
        return found

    def _hold(self, rest: bytes) -> None:
        if not self._held and not rest.strip(b"\r\n"):
            return
        self._held.append(rest)
        self._held_bytes += len(rest)
        if self._held_bytes > MAX_HELD_BYTES or len(self._held) > MAX_HELD_PIECES:
            self._lose()

    def _lose(self) -> None:
        self._dropped += bool(self._held)
        self._forget()

    def _forget(self) -> None:
        self._held = []
        self._held_bytes = self._looked_at = 0

    def _take(self, payload: bytes, found: list[WireChoice]) -> bool:
        if payload.strip() == sse.DONE_PAYLOAD:
            self.ended = True
            return True
        choice = read_chunk(payload)
        if choice is None:
            return False
        found.append(choice)
        self.ended = self.ended or choice.finish_reason is not None
        return True

    def _take_whole(self, rest: bytes, found: list[WireChoice]) -> bool:
        """Take an event without its blank line if it is whole all the same; False when more of it must come."""
        payloads = sse.split_events(rest)
        return len(payloads) == 1 and self._take(payloads[0], found)


def _may_end(plaintext: bytes) -> bool:
    """A piece may be the last one of its event: a line ends in it, or a JSON value at its end."""
    return b"\n" in plaintext or b"\r" in plaintext or plaintext[-_TAIL:].rstrip(b" \t").endswith(_ENDS)
