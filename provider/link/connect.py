"""Opening a connection: TCP, TLS, WebSocket upgrade; foreign exceptions end here."""

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from provider.link.address import LinkAddress
from provider.link.stream import FrameStream, tune_socket
from provider.link.timing import LinkTiming

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
RECEIVE_BYTES: Final = 64 * 1024
QUEUED_MESSAGES: Final = 8
NONCE_HEADER: Final = b"x-darkbloom-registration-nonce"
_MAX_NONCE_CHARACTERS: Final = 256


class ConnectFailed(Exception):
    """No connection was made; `reason` is from closed words, with an HTTP status at most."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The coordinator could not be reached ({reason}).")
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Connection:
    """An open WebSocket. Messages go out through `stream.send_frames`, never through `socket`."""

    socket: WebSocketConnection
    stream: FrameStream
    registration_nonce: str


Dial = Callable[[LinkAddress, LinkTiming], Awaitable[trio.abc.Stream]]
"""Opens the byte stream of a connection; raises `ConnectFailed`."""


@asynccontextmanager
async def open_connection(address: LinkAddress, timing: LinkTiming, dial: Dial) -> AsyncIterator[Connection]:
    """Connect for the length of the block; leaving it closes the stream at once. Raises `ConnectFailed`."""
    stream = FrameStream(await dial(address, timing))
    refusal = ""
    try:
        async with trio.open_nursery() as nursery:
            reader = _Reader(nursery, stream)
            socket = await _upgrade(reader, stream, address, timing)
            if socket is None:
                refusal = reader.refusal or "upgrade_failed"
            else:
                yield Connection(socket, stream, _registration_nonce(socket))
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
    if refusal:
        raise ConnectFailed(refusal)


class _Reader:
    """Stands where the library expects a nursery, so that whatever its reader raises becomes the end of the stream."""

    def __init__(self, nursery: trio.Nursery, stream: FrameStream) -> None:
        self.refusal = ""
        self._nursery = nursery
        self._stream = stream

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        """Start the library's reader."""
        self._nursery.start_soon(self._read, read)

    async def _read(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except ConnectionRejected as rejected:
            self.refusal = f"http_{int(rejected.status_code)}"
        except Exception as error:  # the library lets any fault of the peer out; its text may quote the peer
            log.warning("websocket reader failed", extra={"fault": type(error).__name__})
        finally:
            self._stream.ended.set()


async def _upgrade(
    reader: _Reader, stream: FrameStream, address: LinkAddress, timing: LinkTiming
) -> WebSocketConnection | None:
    """Finish the handshake; None when it was refused, broken off, or took too long."""
    socket: WebSocketConnection | None = None
    with trio.move_on_after(timing.handshake):
        async with trio.open_nursery() as race:

            async def give_up_at_end() -> None:
                await stream.ended.wait()
                race.cancel_scope.cancel()

            race.start_soon(give_up_at_end)
            socket = await wrap_client_stream(
                cast(trio.Nursery, reader),
                cast(trio.SocketStream, stream),
                address.host_header,
                address.path,
                message_queue_size=QUEUED_MESSAGES,
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
            race.cancel_scope.cancel()
    return socket


def _registration_nonce(socket: WebSocketConnection) -> str:
    for name, value in socket.handshake_headers:
        if name.lower() == NONCE_HEADER and len(value) <= _MAX_NONCE_CHARACTERS:
            return value.decode("ascii", "replace")
    return ""


async def dial_tcp(address: LinkAddress, timing: LinkTiming) -> trio.abc.Stream:
    """Connect over TCP, with TLS and the system's certificates where the address asks for it."""
    reason = "connect_timeout"
    with trio.move_on_after(timing.connect):
        try:
            tcp = await trio.open_tcp_stream(address.host, address.port)
        except OSError:
            raise ConnectFailed("connect_failed") from None
        reason = "tls_timeout"
        try:
            tune_socket(tcp.socket)
            return await _secured(tcp, address.host) if address.is_secure else tcp
        except (OSError, trio.BrokenResourceError):
            await trio.aclose_forcefully(tcp)
            raise ConnectFailed("tls_failed") from None
        except trio.Cancelled:
            await trio.aclose_forcefully(tcp)
            raise
    raise ConnectFailed(reason)


async def _secured(tcp: trio.SocketStream, host: str) -> trio.abc.Stream:
    """Finish the TLS handshake; a certificate that does not fit is an `OSError` or breaks the stream."""
    secured = trio.SSLStream(tcp, ssl.create_default_context(), server_hostname=host)
    await secured.do_handshake()
    return secured
