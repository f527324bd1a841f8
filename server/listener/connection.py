"""One accepted socket: deadline-bound writes, reading that can be interrupted, closing and aborting.

Invariant: bytes leave the socket through one owner at a time: hypercorn, or between a streamed answer's head and
its end the answer writer.
Invariant: nothing waits for the peer without a deadline, and a passed deadline aborts the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from server.listener.sockets import reset_on_close

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from server.listener.limits import ListenerLimits

RECEIVE_BYTES: Final = 64 * 1024
# One TLS record, and the unit of progress: a peer that does not take this much within the deadline is stalled.
SEND_SLICE_BYTES: Final = 16 * 1024
LINGER_MAX_BYTES: Final = 1024 * 1024

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Connection:
    """A consumer's or provider's transport; created per accepted socket, closed by the listener."""

    def __init__(self, sock: socket.socket, *, peer: str, limits: ListenerLimits, tls: ssl.SSLContext | None) -> None:
        self._sock = sock
        self._limits = limits
        self._transport = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._receive_scope: trio.CancelScope | None = None
        self.peer = peer
        self.tls = tls is not None
        self.aborted = False
        # Whether `close` should wait for late bytes; pointless on a connection that was idle.
        self.linger = True
        # Hands bytes of a plain socket to the kernel without waiting; gives how many it took. Raises BlockingIOError
        # when it takes none now, another OSError when the peer is gone. The socket's own method: it is the hot path.
        self.send_now: Callable[[bytes | memoryview], int] = sock.send
        self.buffer = bytearray()
        self.stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = (
            self._transport if tls is None else trio.SSLStream(self._transport, tls, server_side=True)
        )

    def __repr__(self) -> str:
        kind = "tls" if self.tls else "plain"
        return f"<Connection {kind} fd={self._sock.fileno()} held={len(self.buffer)} aborted={self.aborted}>"

    @property
    def raw_socket(self) -> socket.socket:
        """The socket itself, for its options."""
        return self._sock

    @property
    def direct(self) -> bool:
        """True when bytes may go straight to the socket."""
        return not self.tls

    async def handshake(self) -> str:
        """Complete TLS and return the protocol that was agreed on; plain sockets speak `http/1.1`.

        Raises trio.BrokenResourceError, also when the handshake passes its deadline.
        """
        if isinstance(self.stream, trio.SocketStream):
            return "http/1.1"
        with trio.move_on_after(self._limits.head_seconds) as scope:
            await self.stream.do_handshake()
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("The TLS handshake took too long.")
        return self.stream.selected_alpn_protocol() or "http/1.1"

    # --- reading: one task only ------------------------------------------------------------------------------------

    async def receive(self) -> bool:
        """Append what arrives to `buffer`; False when the peer closed, half-closed or failed."""
        try:
            data = await self._receive_some()
        except (*_GONE, OSError):
            return False
        self.buffer += data
        return bool(data)

    async def receive_until(self, end: float = float("inf")) -> bool | None:
        """Like `receive`, but None at `end` (of trio's clock), and when it is interrupted."""
        with trio.CancelScope(deadline=end) as scope:
            self._receive_scope = scope
            try:
                return await self.receive()
            finally:
                self._receive_scope = None
        return None

    async def _receive_some(self) -> bytes | bytearray:
        """Wait for bytes; empty at the peer's end. A plain socket is asked only when it has something to say."""
        if self.tls:
            return await self.stream.receive_some(RECEIVE_BYTES)
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(RECEIVE_BYTES)
            except BlockingIOError:
                continue

    def interrupt_receive(self) -> None:
        """Make the running `receive_until`, if any, return None; no byte is lost."""
        if self._receive_scope is not None:
            self._receive_scope.cancel()

    def set_receive_timeout(self, timeout_seconds: float) -> None:
        """Let the running `receive_until`, if any, return None after this time from now on."""
        if self._receive_scope is not None:
            self._receive_scope.deadline = trio.current_time() + timeout_seconds

    # --- writing: the owner of the moment -----------------------------------------------------------------------------

    async def send_all(self, data: bytes) -> None:
        """Send everything, 16 KiB at a time, each within the write deadline.

        Not interrupted by cancellation (a half-sent record or chunk would be worthless), but bounded. Raises
        trio.BrokenResourceError when the peer is gone or stalled; the socket is aborted then.
        """
        view = memoryview(data)
        for start in range(0, len(view), SEND_SLICE_BYTES):
            deadline = trio.current_time() + self._limits.write_deadline_seconds
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                try:
                    await self.stream.send_all(view[start : start + SEND_SLICE_BYTES])
                except _GONE as error:
                    self.abort()
                    raise trio.BrokenResourceError("The peer is gone.") from error
            if scope.cancelled_caught:
                self.abort()
                raise trio.BrokenResourceError("The peer took no bytes within the write deadline.")

    async def wait_writable(self) -> None:
        """Wait until `send_now` can take bytes; raises trio.ClosedResourceError when the socket was closed."""
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError("The socket is closed.")
        await trio.lowlevel.wait_writable(self._sock)

    # --- ending -------------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Reset the connection at once; running reads and writes fail. Idempotent."""
        if not self.aborted:
            self.aborted = True
            if self._sock.fileno() >= 0:
                reset_on_close(self._sock)
                self._transport.socket.close()

    async def send_eof(self) -> None:
        """Tell the peer that nothing more comes (plain sockets; TLS says it in `close`)."""
        if isinstance(self.stream, trio.SocketStream) and not self.aborted:
            try:
                await self.stream.send_eof()
            except _GONE:
                self.abort()

    async def close(self) -> None:
        """Close politely: say goodbye, throw away late bytes for a moment, then close. Bounded and shielded."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._limits.linger_seconds):
            try:
                if isinstance(self.stream, trio.SSLStream) and not self.aborted and self.linger:
                    await self.stream.unwrap()
                if not self.aborted:
                    await self._transport.send_eof()
                    if self.linger:
                        await self._discard_late_bytes()
            except _GONE:
                pass
        self._transport.socket.close()

    async def _discard_late_bytes(self) -> None:
        discarded = 0
        while discarded < LINGER_MAX_BYTES:
            data = await self._transport.receive_some(RECEIVE_BYTES)
            if not data:
                return
            discarded += len(data)
