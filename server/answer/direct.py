"""The fast way out: HTTP/1.1 chunks written straight to a plain socket, by whoever has bytes ready.

A provider's pump may write too, through the writer's spout: it is open only while nothing waits here.

Invariant: what was handed to the kernel is at any moment a prefix of one valid chunked body of the input.
Invariant: only one task at a time waits for the socket; synchronous writes touch it only when nothing waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from server.answer.writer import MAX_WAITING_BYTES, MAX_WRITE_BYTES, ConsumerGone

if TYPE_CHECKING:
    from native import Spout

_CRLF: Final = b"\r\n"


class DirectSocket(Protocol):
    """What the writer needs of a connection."""

    def send_now(self, data: bytes | memoryview) -> int:
        """Hand bytes to the kernel; raises BlockingIOError when it takes none, another OSError when broken."""

    async def wait_writable(self) -> None:
        """Wait until the kernel may take bytes; raises trio.ClosedResourceError when the socket is closed."""

    def abort(self) -> None:
        """Reset the connection."""


class DirectWriter:
    """Writes one chunked body; see AnswerWriter.

    `deadline_seconds` is how long the kernel may make no room because the consumer takes nothing. The writer owns
    `spout`, a second way into the same socket.
    """

    direct: Final = True

    def __init__(self, socket: DirectSocket, *, deadline_seconds: float, spout: Spout | None = None) -> None:
        self._socket = socket
        self._deadline_seconds = deadline_seconds
        self._flushing = trio.Lock()
        self._framed = b""  # the rest of a chunk that was begun
        self._waiting = bytearray()  # bytes behind it, not framed yet
        self._send = socket.send_now
        self._idle = True
        self._written = 0
        self.spout = spout
        self.closed = False

    def __repr__(self) -> str:
        waiting = len(self._framed) + len(self._waiting)
        return f"<DirectWriter waiting={waiting} written={self.bytes_written} closed={self.closed}>"

    @property
    def idle(self) -> bool:
        """True when nothing waits and no task is about to write."""
        if self.spout is not None and self.spout.stuck:
            self._go_on_for_spout(self.spout)
        return self._idle

    @property
    def bytes_written(self) -> int:
        """Bytes that the kernel took, chunk framing included."""
        return self._written + (self.spout.sent_bytes if self.spout is not None else 0)

    def write_now(self, data: bytes) -> bool:
        """Frame `data` as a chunk and hand it to the kernel; see AnswerWriter."""
        size = len(data)
        if not self.idle or self.closed or not 0 < size <= MAX_WRITE_BYTES:
            return self._write_rarely(data)
        framed = b"%x\r\n%b\r\n" % (size, data)
        try:
            taken = self._send(framed)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._lose()
            return False
        self._written += taken
        if taken == len(framed):
            return True
        self._framed = framed[taken:]
        self._leave_idle()
        return False

    def _write_rarely(self, data: bytes) -> bool:
        """Write what is not one chunk into an idle socket."""
        if self.closed:
            return False
        if not data:
            return self.idle
        was_idle = self.idle
        self._append(data)
        return was_idle and self._push()

    async def drain(self) -> None:
        """Wait for the kernel to take what waits; see AnswerWriter."""
        if not self.closed and self.idle:
            await trio.lowlevel.checkpoint()
            return
        async with self._flushing:
            while not self.closed and not self._push():
                await self._wait_for_room()
        if self.closed:
            raise ConsumerGone("The consumer's connection is closed.")

    async def write(self, data: bytes) -> None:
        """Write `data` behind what waits; see AnswerWriter."""
        if self.write_now(data):
            await trio.lowlevel.checkpoint()
        else:
            await self.drain()

    def close(self) -> None:
        """End the writer's ownership of the socket; what still waits is dropped."""
        self.closed = True
        self._framed = b""
        self._waiting.clear()
        self._idle = True
        if self.spout is not None:
            self.spout.close()

    def _leave_idle(self) -> None:
        self._idle = False
        if self.spout is not None:
            self.spout.shut()

    def _go_on_for_spout(self, spout: Spout) -> None:
        """Take over what the spout could not hand to the kernel; it was open, so nothing else waits."""
        self._framed = spout.take_rest()
        self._idle = False
        if not self._framed:
            self._lose()  # there was no memory to keep it: the chunk that was begun can never be completed

    def _append(self, data: bytes) -> None:
        self._waiting += data
        self._leave_idle()
        if len(self._waiting) > MAX_WAITING_BYTES:
            self._lose()

    def _push(self) -> bool:
        """Hand over as much as the kernel takes; True when nothing is left or the writer is closed."""
        while not self.closed:
            if not self._framed:
                if not self._waiting:
                    self._idle = True
                    return True
                part = bytes(self._waiting[:MAX_WRITE_BYTES])
                del self._waiting[:MAX_WRITE_BYTES]
                self._framed = b"%x\r\n%b\r\n" % (len(part), part)
            try:
                taken = self._send(self._framed)
            except BlockingIOError:
                return False
            except OSError:
                self._lose()
                return False
            self._written += taken
            if taken < len(self._framed):
                self._framed = self._framed[taken:]
                return False
            self._framed = b""
        return False

    async def _wait_for_room(self) -> None:
        """Wait until the kernel takes bytes of the chunk that was begun; a passed deadline closes the writer."""
        with trio.move_on_after(self._deadline_seconds) as scope:
            try:
                await self._socket.wait_writable()
            except trio.ClosedResourceError:
                self._lose()
        if scope.cancelled_caught:
            self._lose()

    def _lose(self) -> None:
        self.close()
        self._socket.abort()
