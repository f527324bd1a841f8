"""The byte stream under a connection: whole writes only, from several tasks, and a sign of its end.

Data frames are encoded here in one piece, so that all frames of a decode step leave in one TCP write; the WebSocket
library above writes its own control frames through the same lock, between whole batches.
"""

import os
import socket
import sys
from collections.abc import Iterable
from typing import Final

import trio

import native

MASK_BYTES: Final = 4
_USER_TIMEOUT_MS: Final = 30_000


class FrameStream(trio.abc.Stream):
    """Wraps an open stream; `ended` is set when the peer stopped sending or the connection broke."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.ended = trio.Event()
        self._stream = stream
        self._lock = trio.Lock()

    async def send_frames(self, payloads: Iterable[bytes]) -> None:
        """Send each payload as one masked text message, all in one write. A cancelled call leaves a torn frame."""
        batch = list(payloads)
        masks = os.urandom(MASK_BYTES * len(batch))
        frames = [
            native.encode_frame(native.OP_TEXT, payload, mask=masks[place : place + MASK_BYTES])
            for place, payload in zip(range(0, len(masks), MASK_BYTES), batch, strict=True)
        ]
        await self.send_all(b"".join(frames))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; waits for a write in progress."""
        async with self._lock:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write could proceed."""
        async with self._lock:
            await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Wait for bytes; empty at the end."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.ended.set()
            raise
        if not data:
            self.ended.set()
        return data

    async def aclose(self) -> None:
        """Close the stream below."""
        self.ended.set()
        await self._stream.aclose()


def tune_socket(sock: trio.socket.SocketType) -> None:
    """Send small frames at once, and let the kernel notice a vanished peer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
