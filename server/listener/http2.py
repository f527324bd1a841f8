"""Repairs of hypercorn's HTTP/2 engine: bounded buffers, stalled windows, late bodies.

A stock stream buffer lets its producer go on whenever the client's window is closed, so an answer that nobody reads
grows in memory without bound; and waiting for a window to open has no deadline. A stock engine also fails the whole
connection when a body goes on after its answer ended.
"""

from __future__ import annotations

from typing import Any, Final

import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import RawData
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import BufferCompleteError, H2Protocol, StreamBuffer

HIGH_WATER_BYTES: Final = 32 * 1024
LOW_WATER_BYTES: Final = 16 * 1024


def repair_http2(protocol: H2Protocol, *, stall_seconds: float) -> None:
    """Bound what waits for a client's window in bytes and in time; call before the connection is initiated."""
    protocol.streams = _Streams()
    protocol.stream_buffers = _Buffers(protocol, stall_seconds)


async def reset_stream(protocol: H2Protocol, stream_id: int) -> None:
    """Break one answer off: reset its stream and tell the application that the client is gone."""
    try:
        protocol.connection.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
    except ProtocolError:
        pass  # the stream is gone already
    else:
        await protocol.send(RawData(protocol.connection.data_to_send()))
    stream = protocol.streams.pop(stream_id, None)
    if stream is not None:
        await stream.handle(StreamClosed(stream_id=stream_id))


class BoundedStreamBuffer(StreamBuffer):
    """What waits for one stream's window; a client that takes nothing for `stall_seconds` loses the stream."""

    def __init__(self, protocol: H2Protocol, stream_id: int, stall_seconds: float) -> None:
        super().__init__(protocol.context.event_class)
        self._protocol = protocol
        self._stream_id = stream_id
        self._stall_seconds = stall_seconds
        self._taken = 0

    async def push(self, data: bytes) -> None:
        """Append bytes; waits while more than the high-water mark is kept."""
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= HIGH_WATER_BYTES:
            await self._paused.clear()
            await self._wait_for(self._paused)

    async def drain(self) -> None:
        """Wait until everything was taken."""
        await self._wait_for(self._is_empty)

    async def pop(self, max_length: int) -> bytes:
        """Take at most `max_length` bytes, as the window allows."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        self._taken += len(data)
        if len(self.buffer) <= LOW_WATER_BYTES:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data

    async def _wait_for(self, event: Any) -> None:
        while True:
            taken = self._taken
            with trio.move_on_after(self._stall_seconds):
                await event.wait()
                return
            if self._taken == taken:
                await self.close()
                await reset_stream(self._protocol, self._stream_id)
                return


class _Buffers(dict[int, StreamBuffer]):
    """Puts a bounded buffer wherever hypercorn stores one of its own."""

    def __init__(self, protocol: H2Protocol, stall_seconds: float) -> None:
        super().__init__()
        self._protocol = protocol
        self._stall_seconds = stall_seconds

    def __setitem__(self, stream_id: int, _stock: StreamBuffer) -> None:
        super().__setitem__(stream_id, BoundedStreamBuffer(self._protocol, stream_id, self._stall_seconds))


class _UnknownStream:
    """Stands for a stream that ended before the client had sent its whole body."""

    idle = True

    async def handle(self, event: object) -> None:
        """Throw the late event away."""


class _Streams(dict[int, Any]):
    """hypercorn looks a stream up for each late DATA frame and fails on a missing one; this finds it a sink."""

    def __missing__(self, stream_id: int) -> _UnknownStream:
        return _UnknownStream()
