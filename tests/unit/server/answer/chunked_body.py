"""What the tests of streamed answers share: a decoder of chunked bodies and a real socket with hardly any buffer."""

from __future__ import annotations

import socket

import h11
import trio


def decode_chunked(wire: bytes) -> bytes:
    """The body of complete chunks, as an HTTP client reads it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + wire + b"0\r\n\r\n")
    assert isinstance(client.next_event(), h11.Response)
    body = bytearray()
    while True:
        event = client.next_event()
        if isinstance(event, h11.EndOfMessage):
            assert client.trailing_data == (b"", False)
            return bytes(body)
        assert isinstance(event, h11.Data)
        body += event.data


class TinySocket:
    """A real socket with the smallest send buffer that the kernel allows."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def send_now(self, data: bytes | memoryview) -> int:
        """See DirectSocket."""
        return self._sock.send(data)

    async def wait_writable(self) -> None:
        """See DirectSocket."""
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError("The socket is closed.")
        await trio.lowlevel.wait_writable(self._sock)

    def abort(self) -> None:
        """See DirectSocket."""
        self._sock.close()
