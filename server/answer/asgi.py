"""The ordinary way out: ASGI body events, for TLS, HTTP/2, HTTP/1.0 and HEAD.

Invariant: at most one event is on its way; bytes that arrive meanwhile leave together behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from server.answer.writer import MAX_WAITING_BYTES, MAX_WRITE_BYTES, ConsumerGone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.typing import ASGISendCallable


class AsgiWriter:
    """Writes one body through the ASGI server; see AnswerWriter.

    `abort` breaks the answer off; `deadline_seconds` is how long the consumer may take for each 16 KiB.
    """

    direct: Final = False
    spout: Final = None

    def __init__(
        self, send: ASGISendCallable, *, abort: Callable[[], Awaitable[None]], deadline_seconds: float
    ) -> None:
        self._send = send
        self._abort = abort
        self._deadline_seconds = deadline_seconds
        self._flushing = trio.Lock()
        self._waiting = bytearray()
        self.closed = False
        self.bytes_written = 0

    @property
    def idle(self) -> bool:
        """True when nothing waits."""
        return not self._waiting and not self._flushing.locked()

    def write_now(self, data: bytes) -> bool:
        """Keep `data` for the next drain; True only for no bytes at all on an idle writer."""
        if self.closed:
            return False
        self._waiting += data
        if len(self._waiting) > MAX_WAITING_BYTES:
            self.close()
        return self.idle

    async def drain(self) -> None:
        """Send what waits; see AnswerWriter. A send that was cancelled half-way closes the writer."""
        async with self._flushing:
            while self._waiting and not self.closed:
                await self._send_part()
        if self.closed:
            await self._abort()
            raise ConsumerGone("The consumer left, or read nothing within the write deadline.")

    async def write(self, data: bytes) -> None:
        """Send `data` behind what waits; see AnswerWriter."""
        self.write_now(data)
        await self.drain()

    def close(self) -> None:
        """Take no more bytes; what still waits is dropped."""
        self.closed = True
        self._waiting.clear()

    async def _send_part(self) -> None:
        part = bytes(self._waiting[:MAX_WRITE_BYTES])
        del self._waiting[:MAX_WRITE_BYTES]
        sent = False
        try:
            with trio.move_on_after(self._deadline_seconds):
                await self._send({"type": "http.response.body", "body": part, "more_body": True})
                sent = True
        finally:
            if sent:
                self.bytes_written += len(part)
            else:
                self.close()
