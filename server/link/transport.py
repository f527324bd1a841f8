"""The byte seam of a provider connection: a plain socket, read and written without task switches, or another stream."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Protocol

import trio

RECEIVE_BYTES = 65_536
# A half-open peer is found by the kernel too: keepalive while idle, the user timeout while bytes are unacknowledged.
_USER_TIMEOUT_MS = 30_000
_KEEPALIVE_IDLE_SECONDS = 30
_KEEPALIVE_EVERY_SECONDS = 10
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_wait_readable = trio.lowlevel.wait_readable


class TransportLost(Exception):
    """The peer reset the connection, or this side closed it."""


class Transport(Protocol):
    """What the reader and the writer need of a connection."""

    waited: bool
    """Whether the last `receive` gave other tasks a turn."""

    @property
    def descriptor(self) -> int:
        """The descriptor whose readiness means bytes for `receive_now`; -1 when there is none."""

    def receive_now(self) -> memoryview | None:
        """Read like `receive`, but without waiting: None when nothing is there; raises `TransportLost`."""

    async def receive(self) -> bytes | memoryview:
        """Wait for bytes; empty at the end of the stream. A view is valid only until the caller's next checkpoint.

        May return without a checkpoint when bytes are there already. Raises `TransportLost`.
        """

    def send_now(self, data: bytes | memoryview) -> int:
        """Hand over what the kernel takes without blocking and return the number of bytes; raises `TransportLost`."""

    async def send_all(self, data: bytes | memoryview) -> None:
        """Hand over everything; raises `TransportLost`. A cancelled call leaves a torn frame: abort then."""

    def abort(self) -> None:
        """Reset the connection at once, without a close frame; harmless when repeated."""

    async def aclose(self) -> None:
        """Close the connection in order."""


def open_transport(stream: trio.abc.Stream) -> Transport:
    """Choose the direct form for a plain TCP stream and the general form for everything else, TLS for example."""
    if isinstance(stream, trio.SocketStream):
        return SocketTransport(stream)
    return StreamTransport(stream)


class SocketTransport:
    """A plain socket: one `recv` for a wake-up, and sends that need no task while the kernel has room.

    Invariant: the raw socket shares the stream's file descriptor and is forgotten before that one closes, so that a
    reused descriptor is never touched.
    """

    __slots__ = ("_more", "_raw", "_stream", "waited")

    # All reads of a thread go through one buffer: between `recv_into` and the pump there is no checkpoint.
    _buffer = memoryview(bytearray(RECEIVE_BYTES))

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over the stream's socket and set its keepalive and user timeout."""
        self._stream = stream
        self._more = True
        self.waited = False
        sock = stream.socket
        self._raw: socket.socket | None = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            _set_tcp_timeouts(self._raw)

    @property
    def descriptor(self) -> int:
        """The socket's descriptor; -1 after the end."""
        return -1 if self._raw is None else self._raw.fileno()

    def receive_now(self) -> memoryview | None:
        """Read what is there at this moment."""
        if self._raw is None:
            raise TransportLost
        try:
            return self._buffer[: self._raw.recv_into(self._buffer)]
        except BlockingIOError:
            return None
        except OSError as error:
            raise TransportLost from error

    async def receive(self) -> memoryview:
        """Read what is there; after a short read wait for the descriptor first."""
        raw = self._raw
        if raw is None:
            raise TransportLost
        buffer = self._buffer
        self.waited = False
        while True:
            if self._more:
                try:
                    count = raw.recv_into(buffer)
                except BlockingIOError:
                    self._more = False
                except OSError as error:
                    raise TransportLost from error
                else:
                    self._more = count == RECEIVE_BYTES
                    return buffer[:count]
            try:
                await _wait_readable(raw)
            except (trio.ClosedResourceError, OSError, ValueError) as error:
                raise TransportLost from error
            self._more = self.waited = True

    def send_now(self, data: bytes | memoryview) -> int:
        """Send without blocking; 0 when the kernel has no room."""
        if self._raw is None:
            raise TransportLost
        try:
            return self._raw.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise TransportLost from error

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send everything, waiting for room."""
        await _send_all(self._stream, data)

    def abort(self) -> None:
        """Close with a reset: what is still in the send buffer is dropped."""
        if self._raw is not None:
            try:
                self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass  # the peer was faster: the socket is dead already
            self._forget_raw()
            self._stream.socket.close()

    async def aclose(self) -> None:
        """Close the socket; unsent bytes still go out."""
        self._forget_raw()
        await self._stream.aclose()

    def _forget_raw(self) -> None:
        if self._raw is not None:
            self._raw.detach()
            self._raw = None


class StreamTransport:
    """Any other stream: every read and write goes through it."""

    __slots__ = ("_aborted", "_stream", "waited")

    def __init__(self, stream: trio.abc.Stream) -> None:
        """Wrap the stream."""
        self._stream = stream
        self._aborted = False
        self.waited = True

    @property
    def descriptor(self) -> int:
        """Nothing to watch: bytes may wait inside the stream while the socket below is silent."""
        return -1

    def receive_now(self) -> None:
        """Read nothing: such a stream can only be read by a task."""
        return

    async def receive(self) -> bytes:
        """Read at most one buffer."""
        if self._aborted:
            raise TransportLost
        try:
            return bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise TransportLost from error

    def send_now(self, data: bytes | memoryview) -> int:
        """Take nothing: such a stream can only be written by a task."""
        del data
        return 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send everything through the stream."""
        if self._aborted:
            raise TransportLost
        await _send_all(self._stream, data)

    def abort(self) -> None:
        """Reset the socket below, if there is one; otherwise the session closes the stream forcefully."""
        if self._aborted:
            return
        self._aborted = True
        inner = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        if isinstance(inner, trio.SocketStream):
            try:
                inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            except OSError:
                pass  # the peer was faster: the socket is dead already
            inner.socket.close()

    async def aclose(self) -> None:
        """Close in order, or without any goodbye after an abort."""
        if self._aborted:
            await trio.aclose_forcefully(self._stream)
            return
        try:
            await self._stream.aclose()
        except trio.BrokenResourceError:
            pass  # the peer left without the goodbye of its protocol; the stream is closed all the same


async def _send_all(stream: trio.abc.Stream, data: bytes | memoryview) -> None:
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise TransportLost from error


def _set_tcp_timeouts(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_SECONDS)
