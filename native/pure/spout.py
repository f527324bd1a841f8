"""The way of one attempt's runs to a consumer's socket: one HTTP/1.1 chunk a run, one send that never blocks.

Invariant: nothing passes while a rest waits, so that what the kernel took is always a prefix of one valid chunked body.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from native.shapes import MAX_WRITE_BYTES, no_descriptor

_FLAGS: Final = socket.MSG_DONTWAIT


class _OwnSocket(socket.socket):
    """Closes when it is forgotten, as the C side does."""

    def __del__(self) -> None:
        self.close()


class Spout:
    """Lets a pump write runs to a socket, each as one HTTP/1.1 chunk; see the package's docstring for the rules."""

    __slots__ = ("_open", "_rest", "_socket", "deltas", "sent_bytes", "stuck", "text_bytes", "written_at")

    def __init__(self, fd: int) -> None:
        """Make a shut spout with its own duplicate of `fd`; raises OSError when there is no descriptor left."""
        try:
            own = os.dup(fd)
        except OSError:
            raise no_descriptor(fd) from None
        self._socket = _OwnSocket(fileno=own)
        self._open = False
        self._rest = bytearray()
        self.deltas = 0
        self.text_bytes = 0
        self.sent_bytes = 0
        self.written_at = 0.0
        self.stuck = False

    def open(self) -> None:
        """Let runs through."""
        self._open = True

    def shut(self) -> None:
        """Let no run through; a rest stays until it is taken."""
        self._open = False

    def takes(self, size: int) -> bool:
        """True if a run of this size may be written now."""
        return self._open and not self.stuck and self._socket.fileno() >= 0 and size <= MAX_WRITE_BYTES

    def write(self, run: bytes, deltas: int, text_bytes: int, now: float) -> bool:
        """Frame the run and send it; False if the spout is stuck now."""
        framed = b"%x\r\n%b\r\n" % (len(run), run)
        try:
            sent = self._socket.send(framed, _FLAGS)
        except OSError:
            # An error is like a full socket: the caller sends the rest and hears of it.
            sent = 0
        self.deltas += deltas
        self.text_bytes += text_bytes
        self.sent_bytes += sent
        self.written_at = now
        if sent < len(framed):
            self._open = False
            self.stuck = True
            self._rest += framed[sent:]
        return not self.stuck

    def take_rest(self) -> bytes:
        """Remove and return what the socket did not take; b"" when nothing waits. The spout stays shut."""
        rest = bytes(self._rest)
        self._forget_rest()
        return rest

    def close(self) -> None:
        """Give the descriptor back, drop and wipe the rest; nothing passes any more. Harmless when repeated."""
        self._open = False
        self._forget_rest()
        self._socket.close()

    def _forget_rest(self) -> None:
        self._rest[:] = bytes(len(self._rest))
        self._rest.clear()
        self.stuck = False
