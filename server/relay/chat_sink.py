"""What an attempt does with opened chunks: one form for streams, one for answers in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from protocol.api.shapes import RunRaiser
from server.relay.chunk_queue import Put

if TYPE_CHECKING:
    from protocol.api.shapes import Assembler, StreamAssembler, WholeAssembler
    from server.relay.outlet import Outlet

MAX_PREAMBLE: Final = 8
"""Pieces without content that are kept for the commit; further ones are dropped."""


class Taken(NamedTuple):
    """Whether a chunk held generated content, and what became of its bytes."""

    content: bool
    put: Put


_CONTENT: Final = Taken(content=True, put=Put.QUEUED)
_NO_CONTENT: Final = Taken(content=False, put=Put.QUEUED)


class ChatSink(Protocol):
    """Takes the output of one attempt, in order."""

    @property
    def chat(self) -> Assembler:
        """What is made of the output."""

    @property
    def deltas(self) -> int:
        """Non-empty deltas so far."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far."""

    def opened(self, plaintext: bytes, now: float) -> Taken:
        """Take one opened chunk; may raise AnswerTooLarge."""

    def run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        """Take spliced output; may raise AnswerTooLarge."""

    @property
    def written_at(self) -> float:
        """When the pump last wrote spliced output itself; 0 before."""

    def stuck(self) -> None:
        """Learn that the consumer's socket took less than the pump wrote."""

    def stop(self) -> None:
        """Let the pump write nothing more: the attempt is over, or nobody waits for its output."""


class StreamSink:
    """Passes a streamed answer on; what comes before the first content waits for it.

    Spliced output goes straight into the outlet, which counts it: only the one committed attempt of a request has any.
    """

    direct = True
    """The pump may write its runs to the consumer itself."""

    def __init__(self, chat: StreamAssembler, outlet: Outlet) -> None:
        self.chat = chat
        self.run = outlet.run
        self.stuck = outlet.stuck
        self.stop = outlet.stop
        self._outlet = outlet
        self._preamble: list[bytes] = []
        self._content = False

    @property
    def deltas(self) -> int:
        """See ChatSink."""
        return self.chat.deltas + self._outlet.run_deltas

    @property
    def text_bytes(self) -> int:
        """See ChatSink."""
        return self.chat.text_bytes + self._outlet.run_text_bytes

    def opened(self, plaintext: bytes, now: float) -> Taken:
        """See ChatSink."""
        pieces = self.chat.feed(plaintext)
        if not pieces:
            return _NO_CONTENT
        content = any(piece.content for piece in pieces)
        if not self._content and not content:
            self._preamble.extend(piece.ready for piece in pieces[: MAX_PREAMBLE - len(self._preamble)])
            return _NO_CONTENT
        self._content = True
        ready = b"".join((*self._preamble, *(piece.ready for piece in pieces)))
        self._preamble.clear()
        return Taken(content=content, put=self._outlet.put(ready, len(pieces), now))

    @property
    def written_at(self) -> float:
        """See ChatSink."""
        return self._outlet.written_at

    def preamble(self) -> bytes:
        """What was held and never followed by content: it opens an empty answer."""
        held = b"".join(self._preamble)
        self._preamble.clear()
        return held


class RaisingSink(StreamSink):
    """A StreamSink whose runs become events here: the pump cannot write them itself."""

    direct = False

    def __init__(self, chat: StreamAssembler, raiser: RunRaiser, outlet: Outlet) -> None:
        super().__init__(chat, outlet)
        self.run = self._raise_run
        self._raise = raiser.raise_run
        self._pass_on = outlet.run

    def _raise_run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        return self._pass_on(self._raise(ready), deltas, text_bytes, now)


def stream_sink(chat: StreamAssembler, outlet: Outlet) -> StreamSink:
    """Give the sink that an assembler of a stream needs."""
    return RaisingSink(chat, chat, outlet) if isinstance(chat, RunRaiser) else StreamSink(chat, outlet)


class AnswerSink:
    """Collects an answer that is sent in one piece."""

    def __init__(self, chat: WholeAssembler) -> None:
        self.chat = chat

    @property
    def deltas(self) -> int:
        """See ChatSink."""
        return self.chat.deltas

    @property
    def text_bytes(self) -> int:
        """See ChatSink."""
        return self.chat.text_bytes

    def opened(self, plaintext: bytes, now: float) -> Taken:
        """See ChatSink."""
        return _CONTENT if self.chat.feed(plaintext) else _NO_CONTENT

    def run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        """See ChatSink."""
        self.chat.add_run(ready, deltas, text_bytes)
        return Put.QUEUED

    @property
    def written_at(self) -> float:
        """See ChatSink; an answer in one piece has no consumer's socket to write to."""
        return 0.0

    def stuck(self) -> None:
        """See ChatSink."""

    def stop(self) -> None:
        """See ChatSink."""
