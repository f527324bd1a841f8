"""hypercorn's HTTP/2 engine on one of our connections: it parses and frames, we read, write, time out and close.

Every event that hypercorn sends is handled shielded and with a deadline: quart-trio cancels a request's task as soon
as its answer is complete, and hypercorn's own last steps (close, back to idle) run in that very task. A stock server
loses them, which stops the keep-alive timeout.
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
from server.listener.http2 import repair_http2, reset_stream
from server.listener.transport import TRANSPORT_EXTENSION, AnswerTransport

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

# How long telling hypercorn about a closed connection may take: it queues one event for each running request.
CLOSED_EVENT_SECONDS: Final = 5.0

CrashObserver = Callable[[BaseException], None]


class Http2Server(TCPServer):
    """Serves one connection; `serve` returns when it is over, closing is the caller's."""

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
        self._answered = True
        self._closing = False

    # --- serving ------------------------------------------------------------------------------------------------------

    async def serve(self, preface: bytes) -> None:
        """Serve an HTTP/2 connection; `preface` are bytes that were read already."""
        async with TaskGroup() as task_group:
            await self._start(task_group)
            self.connection.buffer[:0] = preface
            self._answered = True
            while not self._closing:
                data = bytes(self.connection.buffer)
                self.connection.buffer.clear()
                if data:
                    await self.protocol.handle(RawData(data))
                timeout = self._limits.idle_seconds if self._answered else float("inf")
                arrived = await self.connection.receive_until(trio.current_time() + timeout)
                if arrived is False or (arrived is None and (self._answered or self._closing)):
                    break
            await self.protocol.handle(Closed())

    def stop_if_idle(self) -> None:
        """Let an idle connection end now; a busy one ends with its answer (the context is marked terminated)."""
        if self._answered:
            self.connection.linger = False
            self._end()

    # --- reading ------------------------------------------------------------------------------------------------------

    async def _start(self, task_group: TaskGroup) -> None:
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
            "h2",
        )
        if isinstance(self.protocol.protocol, H2Protocol):
            repair_http2(self.protocol.protocol, stall_seconds=self._limits.write_deadline_seconds)
        await self.protocol.initiate()

    # --- writing ------------------------------------------------------------------------------------------------------

    async def protocol_send(self, event: Event) -> None:
        """Carry out what hypercorn asks: send bytes, close, or note that the connection became idle or busy."""
        if isinstance(event, RawData):
            if not event.data:
                return
            try:
                with trio.CancelScope(shield=True):  # bounded: every holder of the lock sends within the deadline
                    async with self.send_lock:
                        await self.connection.send_all(event.data)
            except trio.BrokenResourceError:
                self._end()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSED_EVENT_SECONDS):
                    await self.protocol.handle(Closed())
        elif isinstance(event, Closed):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSED_EVENT_SECONDS):
                self._end()
                await self.protocol.handle(Closed())
        elif isinstance(event, Updated):
            self._note_idle(idle=event.idle)

    def _end(self) -> None:
        self._closing = True
        self.connection.interrupt_receive()

    def _note_idle(self, *, idle: bool) -> None:
        self._answered = idle
        stop = idle and self.context.terminated.is_set()
        self.connection.set_receive_timeout(0.0 if stop else self._limits.idle_seconds if idle else float("inf"))

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
        if not scope["path"].startswith("/"):
            scope["path"] = "*"  # no path of ours; the framework would fail on what it cannot take apart
        self._resolve(scope)
        abort = self._abort_for(send)
        extensions = cast(dict[str, object], scope["extensions"])
        extensions[TRANSPORT_EXTENSION] = AnswerTransport(self.connection, abort, direct=False)
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
            elif message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            await send(message)

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
