"""What an attempt does with opened chunks: one form for streams, one for answers in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from server.relay.chunk_queue import Put

if TYPE_CHECKING:
    from native import SpliceTemplate
    from protocol.api.chat_answer import ChatAnswer
    from protocol.api.chat_stream import ChatStream
    from server.relay.outlet import Outlet

MAX_PREAMBLE: Final = 8
"""Pieces without content that are kept for the commit; further ones are dropped."""


class Taken(NamedTuple):
    """Whether a chunk held generated content, and what became of its bytes."""

    content: bool
    put: Put


class ChatSink(Protocol):
    """Takes the output of one attempt, in order."""

    @property
    def template(self) -> SpliceTemplate | None:
        """What the pump may splice from now on."""

    @property
    def deltas(self) -> int:
        """Non-empty deltas so far."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far."""

    @property
    def dropped(self) -> int:
        """Events that were no chunks, and tool calls beyond the bound."""

    def opened(self, plaintext: bytes, now: float) -> Taken:
        """Take one opened chunk; may raise AnswerTooLarge."""

    def run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        """Take spliced output; may raise AnswerTooLarge."""


class StreamSink:
    """Passes a streamed answer on; what comes before the first content waits for it."""

    def __init__(self, chat: ChatStream, outlet: Outlet) -> None:
        self.chat = chat
        self._outlet = outlet
        self._preamble: list[bytes] = []
        self._content = False

    @property
    def template(self) -> SpliceTemplate | None:
        """See ChatSink."""
        return self.chat.template

    @property
    def deltas(self) -> int:
        """See ChatSink."""
        return self.chat.deltas

    @property
    def text_bytes(self) -> int:
        """See ChatSink."""
        return self.chat.text_bytes

    @property
    def dropped(self) -> int:
        """See ChatSink."""
        return self.chat.dropped_events + self.chat.dropped_calls

    def opened(self, plaintext: bytes, now: float) -> Taken:
        """See ChatSink."""
        pieces = self.chat.feed(plaintext)
        if not pieces:
            return Taken(content=False, put=Put.QUEUED)
        content = any(piece.content for piece in pieces)
        if not self._content and not content:
            self._preamble.extend(piece.ready for piece in pieces[: MAX_PREAMBLE - len(self._preamble)])
            return Taken(content=False, put=Put.QUEUED)
        self._content = True
        ready = b"".join((*self._preamble, *(piece.ready for piece in pieces)))
        self._preamble.clear()
        return Taken(content=content, put=self._outlet.put(ready, len(pieces), now))

    def run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        """See ChatSink."""
        chat = self.chat
        chat.deltas += deltas
        chat.text_bytes += text_bytes
        return self._outlet.put(ready, deltas, now)

    def preamble(self) -> bytes:
        """What was held and never followed by content: it opens an empty answer."""
        held = b"".join(self._preamble)
        self._preamble.clear()
        return held


class AnswerSink:
    """Collects an answer that is sent in one piece."""

    def __init__(self, chat: ChatAnswer) -> None:
        self.chat = chat

    @property
    def template(self) -> SpliceTemplate | None:
        """See ChatSink."""
        return self.chat.template

    @property
    def deltas(self) -> int:
        """See ChatSink."""
        return self.chat.deltas

    @property
    def text_bytes(self) -> int:
        """See ChatSink."""
        return self.chat.text_bytes

    @property
    def dropped(self) -> int:
        """See ChatSink."""
        return self.chat.dropped_events + self.chat.dropped_calls

    def opened(self, plaintext: bytes, now: float) -> Taken:
        """See ChatSink."""
        content = any(piece.content for piece in self.chat.feed(plaintext))
        return Taken(content=content, put=Put.QUEUED)

    def run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        """See ChatSink."""
        self.chat.add_run(ready, deltas, text_bytes)
        return Put.QUEUED
