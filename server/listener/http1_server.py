"""HTTP/1.1 and 1.0 on one of our connections: one exchange at a time, until one side wants to close.

The request heads are read and judged by `head`, bodies by `framing`; what a general server would add per request (a
second parse, a task that waits for the disconnect, a queue) is not needed for that.

Invariant: bytes behind a request stay in the connection's buffer until its answer ended, while a hang-up of the client
is still noticed and counts as a disconnect.
Owner: `run` owns the connection's nursery; one task in it runs the application, one call after the other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote

import trio

from server.listener.answer_head import CONTINUE
from server.listener.client_address import FORWARDING_HEADERS, resolve_client
from server.listener.exchange import Exchange
from server.listener.framing import BodyFramer, FramingError, body_framer
from server.listener.head import HeadRefused, RequestHead
from server.listener.read_head import read_head
from server.listener.refusals import crash_answer
from server.listener.transport import TRANSPORT_EXTENSION, AnswerTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.typing import ASGIFramework

    from server.listener.client_address import ClientAddress, IpNetwork
    from server.listener.connection import Connection
    from server.listener.http2_server import CrashObserver
    from server.listener.limits import ListenerLimits

# Then the connection is closed with its answer, so that clients spread anew over processes and addresses.
REQUESTS_PER_CONNECTION: Final = 1000

Call: TypeAlias = tuple[Exchange, dict[str, Any]]
"""A request and its ASGI scope."""

_ASGI: Final = {"spec_version": "2.1", "version": "3.0"}


class Http1Server:
    """Serves one connection; `run` returns when it is over, closing is the caller's."""

    def __init__(
        self,
        app: ASGIFramework,
        connection: Connection,
        *,
        limits: ListenerLimits,
        trusted_proxies: tuple[IpNetwork, ...],
        on_crash: CrashObserver,
        stopping: Callable[[], bool],
        new_request_id: Callable[[], str],
    ) -> None:
        self._app = app
        self._connection = connection
        self._limits = limits
        self._trusted = trusted_proxies
        self._on_crash = on_crash
        self._stopping = stopping
        self._new_request_id = new_request_id
        self._answered = True
        self._requests = 0
        self._call: Call | None = None  # the next one for the application: the one before it is answered by then
        self._called = trio.Event()
        self._ended = False
        # Ended when no further request is wanted; its deadline ends an idle connection.
        self._reading = trio.CancelScope()
        # A client that leaves ends its connection: what still runs for it is cancelled with its reader.
        self._tasks = trio.CancelScope()
        # The client of a request that no proxy forwarded: the same for the whole connection.
        self._direct_client = resolve_client(connection.peer, tls=connection.tls, headers=(), trusted=trusted_proxies)

    async def run(self, head: RequestHead) -> RequestHead | None:
        """Serve `head` and what follows it on the connection.

        Returns the head of a provider upgrade, if one comes; the stream is untouched behind it. Raises HeadRefused
        for a later request that cannot be served.
        """
        upgrade: RequestHead | None = None
        refused: HeadRefused | None = None
        async with trio.open_nursery() as nursery:
            self._tasks = nursery.cancel_scope
            nursery.start_soon(self._run_calls)
            with self._reading:
                try:
                    upgrade = await self._serve_all(head)
                except HeadRefused as error:
                    refused = error
            self._ended = True
            self._called.set()
        if refused is not None:
            raise refused
        return upgrade

    def stop_if_idle(self) -> None:
        """Let an idle connection end now; a busy one ends with its answer."""
        if self._answered:
            self._connection.linger = False
            self._reading.cancel()

    async def _serve_all(self, head: RequestHead) -> RequestHead | None:
        """Serve one request after the other; returns the head of a provider upgrade, None at the end."""
        next_head: RequestHead | None = head
        while next_head is not None and not next_head.is_provider_upgrade:
            if self._reading.cancel_called:
                return None  # its last bytes came as the time was over: what is begun now would be cut off
            next_head = await self._next_head() if await self._serve(next_head) else None
        return next_head

    async def _next_head(self) -> RequestHead | None:
        if self._stopping():
            return None
        connection = self._connection
        head = await read_head(
            connection, wait_seconds=self._limits.idle_seconds, head_seconds=self._limits.head_seconds
        )
        connection.linger = head is not None
        return head

    # --- one request --------------------------------------------------------------------------------------------------

    async def _serve(self, head: RequestHead) -> bool:
        """Serve one request; False ends the connection. Raises HeadRefused for a body that cannot be framed."""
        self._requests += 1
        self._answered = False
        closes = head.closes or self._requests >= REQUESTS_PER_CONNECTION or self._stopping()
        exchange = Exchange(
            self._connection, head, closes=closes, on_complete=self._note_answered, cancel=self._tasks.cancel
        )
        framer = body_framer(head.content_length)
        if head.content_length != 0 and head.waits_to_continue and not self._connection.buffer:
            await self._connection.send_all(CONTINUE)
        self._call = exchange, self._scope(head, exchange)
        self._called.set()
        try:
            return await self._feed(exchange, framer) and await self._wait_for_answer() and not exchange.closes
        finally:
            exchange.disconnect()  # which means nothing after a whole answer

    async def _feed(self, exchange: Exchange, framer: BodyFramer) -> bool:
        """Pass the request's body on until it or the answer ended; False when the client left."""
        buffer = self._connection.buffer
        if framer.complete:
            exchange.push(b"", last=True)
            return True
        while True:
            try:
                content = framer.take(buffer)
            except FramingError as error:
                if not exchange.started:
                    exchange.closes = True
                    raise HeadRefused(400, f"{error} Send the body in valid chunks.") from None
                self._connection.abort()
                return False
            if content or framer.complete:
                exchange.push(content, last=framer.complete)
                await exchange.wait_for_room()
            if framer.complete or self._answered:
                return True
            if not await self._connection.receive():
                return False

    async def _wait_for_answer(self) -> bool:
        """Hold back further bytes until the answer ended; False when the client left or the connection closes.

        More than `held_bytes` of them are thrown away, because a hang-up can only be seen behind them; the requests
        they may hold are not served, the connection closes with this answer.
        """
        connection = self._connection
        flooded = False
        while not self._answered:
            # A request that waits already is served as soon as the answer ended; else the next one is waited for.
            arrived = await (connection.receive_until() if connection.buffer else connection.receive())
            if arrived is False:
                return False
            if len(connection.buffer) > self._limits.held_bytes:
                flooded = True
                connection.buffer.clear()
        self._reading.deadline = float("inf")
        connection.linger = True
        # A request that came in the very turn in which the idle time ended is not begun: it could not be answered.
        return not (flooded or self._reading.cancel_called)

    def _note_answered(self, closes: bool) -> None:
        """Let the reader, if it waits, wait on for the next request unless there is something to do at once."""
        self._answered = True
        if closes or self._stopping():
            self._reading.cancel()
        elif self._connection.buffer:
            self._connection.interrupt_receive()
        else:
            self._connection.linger = False  # as long as nothing more comes
            self._reading.deadline = trio.current_time() + self._limits.idle_seconds

    # --- the application ----------------------------------------------------------------------------------------------

    async def _run_calls(self) -> None:
        """Run the application for one request after the other: a task for each would cost more than parsing it."""
        while self._call is not None or not self._ended:
            await self._called.wait()
            self._called = trio.Event()
            call, self._call = self._call, None
            if call is not None:
                await self._run_app(*call)

    async def _run_app(self, exchange: Exchange, scope: dict[str, Any]) -> None:
        """Run the application for one request; what escapes it becomes a 500, or breaks off an answer that began."""
        crashed = False
        try:
            await self._app(scope, exchange.receive, exchange.send)  # type: ignore[arg-type]
        except (Exception, BaseExceptionGroup) as error:
            crash = error.split(trio.Cancelled)[1] if isinstance(error, BaseExceptionGroup) else error
            if crash is None:
                raise
            self._on_crash(crash)
            crashed = True
        finally:
            exchange.finish()
        if exchange.complete:
            return
        if exchange.rewind():
            exchange.closes = True
            for event in crash_answer(self._new_request_id()):
                await exchange.send(event)
        elif crashed:
            self._connection.abort()
        self._reading.cancel()

    def _client_of(self, head: RequestHead) -> ClientAddress:
        if FORWARDING_HEADERS.isdisjoint([name for name, _ in head.headers]):
            return self._direct_client
        connection = self._connection
        return resolve_client(connection.peer, tls=connection.tls, headers=head.headers, trusted=self._trusted)

    def _scope(self, head: RequestHead, exchange: Exchange) -> dict[str, Any]:
        connection = self._connection
        client = self._client_of(head)
        path, _, query = head.target.partition(b"?")

        def abort() -> None:
            connection.abort()
            self._reading.cancel()

        transport = AnswerTransport(
            connection,
            exchange.abort_with(abort),
            direct=connection.direct and head.version == b"1.1" and head.method != b"HEAD",
            source=exchange,
        )
        return {
            "type": "http",
            "http_version": head.version.decode("ascii"),
            "asgi": _ASGI,
            "method": head.method.decode("ascii").upper(),
            "scheme": client.scheme,
            "path": _unquoted(path),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(head.headers),
            "client": (client.ip, 0),
            "server": None,
            "state": {},
            "extensions": {TRANSPORT_EXTENSION: transport},
        }


@lru_cache(maxsize=1024)
def _unquoted(path: bytes) -> str:
    return unquote(path.decode("ascii"))
