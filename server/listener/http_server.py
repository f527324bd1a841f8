"""hypercorn's protocol engine on one of our connections: it parses and frames, we read, write, time out and close.

Every event that hypercorn sends is handled shielded and with a deadline: quart-trio cancels a request's task as soon
as its answer is complete, and hypercorn's own last steps (close, back to idle) run in that very task. A stock server
loses them, which leaves `Connection: close` clients waiting and stops the keep-alive timeout.

Invariant: hypercorn sees the bytes of one request at a time; what follows stays in the connection's buffer until the
answer ended, while a hang-up of the client is still noticed and counts as a disconnect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState, HTTPScope

from server.listener.client_address import resolve_client
from server.listener.framing import FramingError, body_framer
from server.listener.head import HeadRefused, RequestHead, without_upgrade
from server.listener.http2 import repair_http2, reset_stream
from server.listener.read_head import read_head

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import (
        AppWrapper,
        ASGIReceiveCallable,
        ASGIReceiveEvent,
        ASGISendCallable,
        ASGISendEvent,
        Scope,
    )

    from server.listener.client_address import IpNetwork
    from server.listener.connection import Connection
    from server.listener.limits import ListenerLimits

# Where an application finds its `AnswerTransport` in the ASGI scope's extensions.
TRANSPORT_EXTENSION: Final = "darkbloom.transport"

# How long telling hypercorn about a closed connection may take: it queues one event for each running request.
CLOSED_EVENT_SECONDS: Final = 5.0

CrashObserver = Callable[[BaseException], None]


class AnswerTransport:
    """What an answer may do with the connection under it; one per request, found in the ASGI scope."""

    def __init__(self, connection: Connection, abort: Callable[[], Awaitable[None]], *, direct: bool) -> None:
        self.connection = connection
        self.direct = direct
        self._abort = abort

    async def abort(self) -> None:
        """End the answer as broken: reset the connection, or on HTTP/2 this answer's stream alone."""
        await self._abort()


class HttpServer(TCPServer):
    """Serves one connection; `run_http1` or `run_http2` returns when it is over, closing is the caller's."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        connection: Connection,
        *,
        limits: ListenerLimits,
        trusted_proxies: tuple[IpNetwork, ...],
        on_crash: CrashObserver,
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), connection.stream)  # type: ignore[arg-type]
        self.connection = connection
        self._limits = limits
        self._trusted = trusted_proxies
        self._on_crash = on_crash
        self._http2 = False
        self._answered = True
        self._closing = False
        # An answer's head waits here for the first bytes of its body, so that both leave in one write.
        self._corked = False
        self._head = b""

    # --- the two ways to serve ---------------------------------------------------------------------------------------

    async def run_http1(self, head: RequestHead) -> RequestHead | None:
        """Serve `head` and what follows it on the connection.

        Returns the head of a provider upgrade, if one comes; the stream is untouched behind it. Raises HeadRefused
        for a later head that cannot be served.
        """
        next_head: RequestHead | None = head
        refused: HeadRefused | None = None
        async with TaskGroup() as task_group:
            await self._start(task_group, "http/1.1")
            while next_head is not None and not next_head.is_provider_upgrade:
                if not await self._serve_request(next_head):
                    next_head = None
                    break
                try:
                    next_head = await self._next_head()
                except HeadRefused as error:
                    refused = error
                    break
            if next_head is None:
                await self.protocol.handle(Closed())
        if refused is not None:
            raise refused
        return next_head

    async def run_http2(self, preface: bytes) -> None:
        """Serve an HTTP/2 connection; `preface` are bytes that were read already."""
        self._http2 = True
        async with TaskGroup() as task_group:
            await self._start(task_group, "h2")
            self.connection.buffer[:0] = preface
            self._answered = True
            while not self._closing:
                data = bytes(self.connection.buffer)
                self.connection.buffer.clear()
                if data:
                    await self.protocol.handle(RawData(data))
                timeout = self._limits.idle_seconds if self._answered else float("inf")
                arrived = await self.connection.receive(timeout_seconds=timeout)
                if arrived is False or (arrived is None and self._over()):
                    break
            await self.protocol.handle(Closed())

    def stop_if_idle(self) -> None:
        """Let an idle connection end now; a busy one ends with its answer (the context is marked terminated)."""
        if self._answered:
            self.connection.linger = False
            self._end()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _start(self, task_group: TaskGroup, protocol: str) -> None:
        self._task_group = task_group
        self.protocol = ProtocolWrapper(
            self._call_app,
            self.config,
            self.context,
            task_group,
            ConnectionState({}),
            self.connection.tls,
            (self.connection.peer, 0),
            None,
            self.protocol_send,
            protocol,
        )
        if isinstance(self.protocol.protocol, H2Protocol):
            repair_http2(self.protocol.protocol, stall_seconds=self._limits.write_deadline_seconds)
        await self.protocol.initiate()

    async def _serve_request(self, head: RequestHead) -> bool:
        """Pass one request to hypercorn and wait for the end of its answer; False ends the connection."""
        self._answered = False
        framer = body_framer(head.content_length)
        data = without_upgrade(head)
        buffer = self.connection.buffer
        while True:
            try:
                taken = framer.feed(buffer)
            except FramingError:
                taken = len(buffer)  # h11 finds the same fault in it and refuses
            data += bytes(buffer[:taken])
            del buffer[:taken]
            if data:
                await self.protocol.handle(RawData(data))
            if framer.complete or self._over():
                break
            data = b""
            if await self.connection.receive() is False:
                return False
        return await self._wait_for_answer()

    async def _wait_for_answer(self) -> bool:
        """Hold back further bytes until the answer ended; False when the client left or the connection closes.

        More than `held_bytes` of them are thrown away, because a hang-up can only be seen behind them; the requests
        they may hold are not served, the connection closes with this answer.
        """
        buffer = self.connection.buffer
        flooded = False
        while not self._over():
            if await self.connection.receive() is False:
                return False
            if len(buffer) > self._limits.held_bytes:
                flooded = True
                buffer.clear()
        return not (self._closing or flooded)

    async def _next_head(self) -> RequestHead | None:
        if self.context.terminated.is_set():
            return None
        head = await read_head(
            self.connection, wait_seconds=self._limits.idle_seconds, head_seconds=self._limits.head_seconds
        )
        self.connection.linger = head is not None
        return head

    def _over(self) -> bool:
        return self._answered or self._closing

    # --- writing ------------------------------------------------------------------------------------------------------

    async def protocol_send(self, event: Event) -> None:
        """Carry out what hypercorn asks: send bytes, close, or note that the connection became idle or busy."""
        if isinstance(event, RawData):
            if self._corked:
                self._head += event.data
                return
            data = self._head + event.data
            self._head = b""
            if not data:
                return
            try:
                with trio.CancelScope(shield=True):  # bounded: every holder of the lock sends within the deadline
                    async with self.send_lock:
                        await self.connection.send_all(data)
            except trio.BrokenResourceError:
                self._end()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSED_EVENT_SECONDS):
                    await self.protocol.handle(Closed())
        elif isinstance(event, Closed):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSED_EVENT_SECONDS):
                if not self._http2:
                    await self.connection.send_eof()
                self._end()
                await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._note_idle(idle=event.idle)

    def _end(self) -> None:
        self._closing = True
        self.connection.interrupt_receive()

    def _note_idle(self, *, idle: bool) -> None:
        self._answered = idle
        if self._http2:
            stop = idle and self.context.terminated.is_set()
            self.connection.set_receive_timeout(0.0 if stop else self._limits.idle_seconds if idle else float("inf"))
        elif idle:
            self.connection.interrupt_receive()

    # --- the application ----------------------------------------------------------------------------------------------

    async def _call_app(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        """Run the application for one request with the resolved client; an escaped exception breaks the answer."""
        if scope["type"] != "http":
            return
        self._resolve(scope)
        abort = self._abort_for(send)
        direct = self.connection.direct and scope["http_version"] == "1.1" and scope["method"] != "HEAD"
        extensions = cast(dict[str, object], scope["extensions"])
        extensions[TRANSPORT_EXTENSION] = AnswerTransport(self.connection, abort, direct=direct)
        started = complete = body_read = False

        async def watched_receive() -> ASGIReceiveEvent:
            nonlocal body_read
            event = await receive()
            body_read = event["type"] != "http.request" or not event.get("more_body", False)
            return event

        async def watched_send(message: ASGISendEvent) -> None:
            nonlocal started, complete
            if message["type"] == "http.response.start":
                started = True
                self._corked = not self._http2
                await send(message)
                return
            self._corked = False
            if message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            await send(message)
            if self._head:
                await self.protocol_send(RawData(b""))

        try:
            await self.app(scope, watched_receive, watched_send, sync_spawn, call_soon)
        except (Exception, BaseExceptionGroup) as error:
            crash, _ = _without_cancelled(error)
            if crash is None:
                raise
            self._on_crash(crash)
            if started and not complete:
                await abort()
        finally:
            if not body_read:
                self._task_group.spawn(_discard_body, receive)

    def _resolve(self, scope: HTTPScope) -> None:
        client = resolve_client(
            self.connection.peer, tls=self.connection.tls, headers=list(scope["headers"]), trusted=self._trusted
        )
        scope["client"] = (client.ip, 0)
        scope["scheme"] = client.scheme

    def _abort_for(self, send: ASGISendCallable) -> Callable[[], Awaitable[None]]:
        """Return how to break the answer that `send` belongs to: on HTTP/2 its stream, else the connection."""
        stream = getattr(send, "__self__", None)
        protocol = self.protocol.protocol
        if isinstance(protocol, H2Protocol) and isinstance(stream, HTTPStream):
            return partial(reset_stream, protocol, stream.stream_id)

        async def reset_connection() -> None:
            self.connection.abort()
            self._end()

        return reset_connection


async def _discard_body(receive: ASGIReceiveCallable) -> None:
    """Empty the queue of a request whose application is gone: hypercorn's reader waits for room in it."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _without_cancelled(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Split what is a crash from what is a cancellation."""
    if isinstance(error, BaseExceptionGroup):
        cancelled, crash = error.split(trio.Cancelled)
        return crash, cancelled
    return error, None
