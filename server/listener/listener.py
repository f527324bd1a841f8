"""The coordinator's only door: accepts TCP connections and gives each to an HTTP server or to the provider link.

Invariant: one nursery owns every connection task; a failure in one connection never reaches another.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeAlias

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.worker_context import WorkerContext

from server.listener.client_address import parse_ip, resolve_client
from server.listener.connection import Connection
from server.listener.head import HeadRefused, RequestHead
from server.listener.http1_server import Http1Server
from server.listener.http2_server import CrashObserver, Http2Server
from server.listener.hypercorn_config import hypercorn_config
from server.listener.read_head import read_head
from server.listener.refusals import refusal
from server.listener.sockets import (
    open_listening_sockets,
    reset_consumer_options,
    set_common_options,
    set_consumer_options,
)

if TYPE_CHECKING:
    import socket
    import ssl

    from hypercorn.typing import ASGIFramework

    from server.listener.client_address import IpNetwork
    from server.listener.limits import ListenerLimits

ACCEPTS_PER_WAKE: Final = 64
# When the process has no descriptors left: wait for some to come back instead of spinning.
ACCEPT_PAUSE_SECONDS: Final = 0.1
_OUT_OF_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

ProviderLink: TypeAlias = Callable[[trio.abc.Stream, RequestHead, bytes, str], Awaitable[None]]


class Listener:
    """Owns the listening sockets and every accepted connection.

    `provider_link(stream, head, leftover, client_ip)` serves an upgrade to the provider path over the raw stream and
    writes the upgrade answer itself; the stream is closed when it returns. Everything else goes to the ASGI
    application `app`. `on_crash` sees exceptions that escaped a connection or the application.
    """

    def __init__(
        self,
        app: ASGIFramework,
        provider_link: ProviderLink,
        *,
        limits: ListenerLimits,
        trusted_proxies: tuple[IpNetwork, ...],
        tls: ssl.SSLContext | None = None,
        on_crash: CrashObserver,
        new_request_id: Callable[[], str],
    ) -> None:
        self._app = ASGIWrapper(app)
        self._provider_link = provider_link
        self._limits = limits
        self._trusted = trusted_proxies
        self._tls = tls
        self._on_crash = on_crash
        self._new_request_id = new_request_id
        self._config = hypercorn_config()
        self._context = WorkerContext(None)
        self._servers: set[Http1Server | Http2Server] = set()
        self._per_ip: Counter[str] = Counter()
        self._open = 0
        self._accepting = trio.CancelScope()
        self._connections = trio.CancelScope()
        self.refused_connections = 0

    @property
    def open_connections(self) -> int:
        """Number of accepted connections that are not closed yet."""
        return self._open

    async def run(
        self, host: str, port: int, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen on `host`:`port` (0: a free port) until `close` ends it; reports the URLs when it can serve.

        Raises OSError when the address cannot be bound. Cancellation resets all connections.
        """
        with ExitStack() as sockets:
            listening = [sockets.enter_context(sock) for sock in open_listening_sockets(host, port)]
            task_status.started([self._url(sock) for sock in listening])
            with self._connections:
                async with trio.open_nursery() as nursery:
                    with self._accepting:
                        async with trio.open_nursery() as accepting:
                            for sock in listening:
                                accepting.start_soon(self._accept_loop, sock, nursery)
                    for sock in listening:
                        sock.close()

    async def close(self, *, grace_seconds: float) -> None:
        """Stop accepting, end idle connections now and busy ones with their answer, and all after the grace.

        Returns at once; `run` returns when the last connection ended.
        """
        self._accepting.cancel()
        await self._context.terminated.set()
        self._connections.deadline = min(self._connections.deadline, trio.current_time() + grace_seconds)
        for server in list(self._servers):
            server.stop_if_idle()

    def _url(self, sock: socket.socket) -> str:
        host, port = sock.getsockname()[:2]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    # --- accepting ----------------------------------------------------------------------------------------------------

    async def _accept_loop(self, listening: socket.socket, nursery: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listening)
            for _ in range(ACCEPTS_PER_WAKE):
                try:
                    sock, address = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OUT_OF_RESOURCES:
                        self._on_crash(error)
                        await trio.sleep(ACCEPT_PAUSE_SECONDS)
                    break  # else: the peer left before we came
                self._admit(sock, str(address[0]), nursery)

    def _admit(self, sock: socket.socket, peer: str, nursery: trio.Nursery) -> None:
        limits = self._limits
        address = parse_ip(peer)
        is_proxy = address is not None and any(
            address.version == network.version and address in network for network in self._trusted
        )
        too_many = 0 < limits.max_connections <= self._open
        too_many_here = not is_proxy and 0 < limits.max_connections_per_ip <= self._per_ip[peer]
        if too_many or too_many_here:
            self.refused_connections += 1
            sock.close()
            return
        try:
            sock.setblocking(False)
            set_common_options(sock)
        except OSError:
            sock.close()
            return
        self._open += 1
        self._per_ip[peer] += 1
        nursery.start_soon(self._serve, sock, peer)

    async def _serve(self, sock: socket.socket, peer: str) -> None:
        connection = Connection(sock, peer=peer, limits=self._limits, tls=self._tls)
        try:
            await self._serve_connection(connection)
        except trio.BrokenResourceError:
            connection.abort()
        except (Exception, BaseExceptionGroup) as error:
            connection.abort()
            if isinstance(error, BaseExceptionGroup) and (cancelled := error.subgroup(trio.Cancelled)) is not None:
                rest = error.split(trio.Cancelled)[1]
                if rest is not None:
                    self._on_crash(rest)
                raise cancelled from None
            self._on_crash(error)
        finally:
            if not self._connections.cancel_called:
                await connection.close()
            connection.abort()
            self._open -= 1
            self._per_ip[peer] -= 1
            if self._per_ip[peer] <= 0:
                del self._per_ip[peer]

    # --- one connection -----------------------------------------------------------------------------------------------

    async def _serve_connection(self, connection: Connection) -> None:
        if await connection.handshake() == "h2":
            set_consumer_options(connection.raw_socket)
            await self._run_http2(connection, b"")
            return
        seconds = self._limits.head_seconds
        try:
            head = await read_head(connection, wait_seconds=seconds, head_seconds=seconds)
            if head is not None and not head.is_provider_upgrade:
                set_consumer_options(connection.raw_socket)
                if head.is_http2_preface:
                    await self._run_http2(connection, head.raw)
                    return
                head = await self._run_http1(connection, head)
        except HeadRefused as error:
            await connection.send_all(refusal(error.status, str(error), self._new_request_id()))
            return
        if head is not None:
            await self._run_provider_link(connection, head)

    async def _run_http1(self, connection: Connection, head: RequestHead) -> RequestHead | None:
        server = Http1Server(
            self._app.app,
            connection,
            limits=self._limits,
            trusted_proxies=self._trusted,
            on_crash=self._on_crash,
            stopping=self._context.terminated.is_set,
            new_request_id=self._new_request_id,
        )
        self._servers.add(server)
        try:
            return await server.run(head)
        finally:
            self._servers.discard(server)

    async def _run_http2(self, connection: Connection, preface: bytes) -> None:
        server = Http2Server(
            self._app,
            self._config,
            self._context,
            connection,
            limits=self._limits,
            trusted_proxies=self._trusted,
            on_crash=self._on_crash,
        )
        self._servers.add(server)
        try:
            await server.serve(preface)
        finally:
            self._servers.discard(server)

    async def _run_provider_link(self, connection: Connection, head: RequestHead) -> None:
        reset_consumer_options(connection.raw_socket)
        client = resolve_client(connection.peer, tls=connection.tls, headers=head.headers, trusted=self._trusted)
        leftover = bytes(connection.buffer)
        connection.buffer = bytearray()
        await self._provider_link(connection.stream, head, leftover, client.ip)
