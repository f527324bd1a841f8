"""The provider's end of the WebSocket, close to the bytes: handshake, messages in, any bytes out."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections import deque
from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
    TextMessage,
)

import native

MAX_READ_BYTES = 1 << 18


class Closed(Exception):
    """The coordinator closed the connection; `code` is its close code, or None for a bare end of stream."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(f"The coordinator closed the connection ({code}: {reason}).")
        self.code = code
        self.reason = reason


class SimWire:
    """One client connection to `/ws/provider`; sends are not serialised: one task sends at a time."""

    def __init__(self, stream: trio.abc.Stream, socket: trio.SocketStream) -> None:
        self.stream = stream
        self.socket = socket
        self.handshake_headers: dict[str, str] = {}
        self._wsproto = WSConnection(ConnectionType.CLIENT)
        self._messages: deque[bytes] = deque()
        self._parts: list[bytes] = []
        self._lock = trio.Lock()
        self._pongs: dict[bytes, trio.Event] = {}
        self._closed: Closed | None = None

    @classmethod
    async def connect(cls, url: str, *, tls: ssl.SSLContext | None = None) -> SimWire:
        """Open the connection and finish the upgrade; raises `Closed` when it is refused."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme in ("wss", "https") else 80)
        socket = await trio.open_tcp_stream(parts.hostname or "127.0.0.1", port)
        socket.setsockopt(6, 1, 1)
        stream: trio.abc.Stream = socket
        if parts.scheme in ("wss", "https"):
            stream = trio.SSLStream(socket, tls or ssl.create_default_context(), server_hostname=parts.hostname)
        wire = cls(stream, socket)
        try:
            await wire._upgrade(f"{parts.hostname}:{port}")
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return wire

    async def _upgrade(self, host: str) -> None:
        await self.stream.send_all(self._wsproto.send(Request(host=host, target="/ws/provider")))
        while True:
            data = await self.stream.receive_some(MAX_READ_BYTES)
            self._wsproto.receive_data(bytes(data) or None)
            for event in self._wsproto.events():
                if isinstance(event, AcceptConnection):
                    self.handshake_headers = {k.decode().lower(): v.decode() for k, v in event.extra_headers}
                    return
                if isinstance(event, RejectConnection):
                    raise Closed(event.status_code, "upgrade refused")
            if not data:
                raise Closed(None, "no answer to the upgrade")

    async def send_text(self, payload: bytes) -> None:
        """Send one message."""
        await self.send_bytes(frame(payload))

    async def send_bytes(self, data: bytes) -> None:
        """Send any bytes, also broken frames."""
        async with self._lock:
            await self.stream.send_all(data)

    async def ping(self) -> trio.Event:
        """Send a ping; the event is set when `receive` meets its pong: then all that was sent before is handled."""
        payload = os.urandom(8)
        answered = self._pongs[payload] = trio.Event()
        await self.send_bytes(native.encode_frame(native.OP_PING, payload, mask=os.urandom(4)))
        return answered

    async def receive(self) -> bytes:
        """Wait for the next message; answers pings; raises `Closed` behind the last one."""
        while not self._messages:
            if self._closed is not None:
                raise self._closed
            data = await self.stream.receive_some(MAX_READ_BYTES)
            if not data:
                raise Closed(None)
            self._wsproto.receive_data(bytes(data))
            for event in self._wsproto.events():
                if isinstance(event, TextMessage):
                    self._parts.append(event.data.encode())
                elif isinstance(event, BytesMessage):
                    self._parts.append(bytes(event.data))
                elif isinstance(event, Ping):
                    await self.send_bytes(native.encode_frame(native.OP_PONG, event.payload, mask=os.urandom(4)))
                elif isinstance(event, Pong):
                    self._pongs.pop(bytes(event.payload), trio.Event()).set()
                elif isinstance(event, CloseConnection):
                    self._closed = Closed(int(event.code), event.reason or "")
                if isinstance(event, TextMessage | BytesMessage) and event.message_finished:
                    self._messages.append(b"".join(self._parts))
                    self._parts.clear()
        return self._messages.popleft()

    async def close(self, code: int = 1001) -> None:
        """Say goodbye and close."""
        with trio.move_on_after(1) as scope:
            scope.shield = True
            try:
                payload = code.to_bytes(2, "big")
                await self.send_bytes(native.encode_frame(native.OP_CLOSE, payload, mask=os.urandom(4)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        await trio.aclose_forcefully(self.stream)

    def reset(self) -> None:
        """Tear the connection down with a TCP reset, as a crash would; does nothing when it is closed already."""
        if self.socket.socket.fileno() < 0:
            return
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.socket.close()


def frame(payload: bytes) -> bytes:
    """Give one masked text frame."""
    return native.encode_frame(native.OP_TEXT, payload, mask=os.urandom(4))
