"""An answer writer that seals: each server-sent event becomes an event of its own that holds one box.

Invariant: what reaches the writer below is a row of whole sealed events; never a byte of plaintext, never half a box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from server.answer.writer import MAX_WRITE_BYTES, AnswerAborted

if TYPE_CHECKING:
    from server.answer.writer import AnswerWriter
    from server.sealed.exchange import SealedExchange

MAX_EVENT_BYTES: Final = 32 * 1024 * 1024
"""An event of the answer comes from one message of a provider, which is shorter."""

PAD_BYTES: Final = 32
_END: Final = b"\n\n"


class EventForm(NamedTuple):
    """What a client asked for: lengths rounded up, so that they tell less, and numbers, so that a gap shows."""

    padded: bool = False
    numbered: bool = False


PLAIN_FORM: Final = EventForm()


class SealingWriter:
    """Takes the bytes of an event stream, in pieces of any size; see AnswerWriter. Used by one task."""

    direct: Final = False
    spout: Final = None

    def __init__(self, below: AnswerWriter, exchange: SealedExchange, form: EventForm = PLAIN_FORM) -> None:
        self._below = below
        self._exchange = exchange
        self._form = form
        self._rest = bytearray()
        self._searched = 0  # so many bytes of the rest hold no end of an event
        self._events = 0

    @property
    def idle(self) -> bool:
        """True when no whole event waits."""
        return self._below.idle and self._last_end() < 0

    @property
    def closed(self) -> bool:
        """True when the consumer is gone."""
        return self._below.closed

    def write_now(self, data: bytes) -> bool:
        """Keep `data` for the next drain; True only if no whole event waits."""
        if self.closed:
            return False
        self._rest += data
        return self.idle

    async def write(self, data: bytes) -> None:
        """Seal and write every event that `data` completes."""
        self._rest += data
        await self.drain()

    async def drain(self) -> None:
        """Write the whole events that wait; raises ConsumerGone, and AnswerAborted for one that never ends."""
        end = self._last_end()
        if end < 0:
            self._searched = len(self._rest)
            if len(self._rest) > MAX_EVENT_BYTES:
                raise AnswerAborted(f"An event of more than {MAX_EVENT_BYTES} bytes has no end.")
            await self._below.drain()
            return
        events = bytes(self._rest[:end]).split(_END)
        del self._rest[: end + len(_END)]
        self._searched = len(self._rest)
        await self._write_sealed(events)

    async def finish(self) -> None:
        """Write what is left as a last event, though no blank line ended it."""
        await self.drain()
        if self._rest:
            rest, self._rest = bytes(self._rest), bytearray()
            await self._write_sealed([rest])

    def _last_end(self) -> int:
        """Where the last end of an event begins, -1 without one; a long event is not searched again and again."""
        return self._rest.rfind(_END, max(0, self._searched - len(_END) + 1))

    async def _write_sealed(self, events: list[bytes]) -> None:
        ready = b"".join(b"data: " + self._exchange.seal(self._formed(event)) + _END for event in events if event)
        for start in range(0, len(ready), MAX_WRITE_BYTES):
            await self._below.write(ready[start : start + MAX_WRITE_BYTES])

    def _formed(self, event: bytes) -> bytes:
        """Add the comment lines that the client asked for; every parser of events skips them."""
        if self._form.numbered:
            event = b": %d\n" % self._events + event
        self._events += 1
        if self._form.padded:
            event += b"\n:"
            event += b" " * (-len(event) % PAD_BYTES)
        return event
