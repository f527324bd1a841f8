"""The layers around the application in one callable: CORS → request log → recovery → drain gate → router.

The request log is outside the recovery, so that the 500 of a crashed handler has its request id and is logged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from protocol.api.errors import ApiError
from server.observe.context import RequestScope
from server.observe.request_id import choose_request_id, mint_coord_request_id
from server.serve.asgi_types import header
from server.serve.cors import Cors
from server.serve.drain_gate import is_gated, refuse_draining
from server.serve.json_error import send_error
from server.serve.request_log import CLIENT_GONE, ID_HEADERS, AccessLog

if TYPE_CHECKING:
    from server.observe import Metrics
    from server.serve.asgi_types import AsgiApp, Event, Receive, Scope, Send
    from server.serve.drain import Drain

_log = logging.getLogger("darkbloom.recovery")


class Layers:
    """Serves every request of the coordinator; other kinds of scope pass through."""

    def __init__(self, app: AsgiApp, *, metrics: Metrics, drain: Drain, cors_origins: tuple[str, ...]) -> None:
        self._app = app
        self._drain = drain
        self._cors = Cors(cors_origins)
        self._access = AccessLog(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with its ids set."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        granted = self._cors.headers(scope)
        if granted and await self._cors.answer_preflight(scope, send, granted):
            return
        await _Request(self._app, scope, send, self._drain, self._access, granted).run(receive)


class _Request:
    """One request on its way through the layers, and its one wrapper of `send`."""

    __slots__ = ("_access", "_app", "_drain", "_extra", "_scope", "_send", "_started", "_status", "public_id")

    def __init__(
        self,
        app: AsgiApp,
        scope: Scope,
        send: Send,
        drain: Drain,
        access: AccessLog,
        granted: tuple[tuple[bytes, bytes], ...],
    ) -> None:
        self._app = app
        self._scope = scope
        self._send = send
        self._drain = drain
        self._access = access
        self._started = False
        self._status = CLIENT_GONE
        self.public_id = choose_request_id(header(scope, b"x-request-id"))
        encoded = self.public_id.encode()
        self._extra = (*((name, encoded) for name in ID_HEADERS), *granted)

    async def run(self, receive: Receive) -> None:
        """Serve it; a crash before the head becomes a 500, one behind it goes on to be aborted outside."""
        started = trio.current_time()
        with RequestScope(self.public_id, mint_coord_request_id()) as notes:
            try:
                await self._pass_gate(receive)
            except (Exception, BaseExceptionGroup) as error:
                if self._started or _cancelled_only(error):
                    raise
                _log.error("a handler crashed", exc_info=error)
                crash = ApiError(500, "internal_error", "internal server error")
                await send_error(self.send, self._scope["path"], crash)
            finally:
                self._access.write(self._scope, notes, self._status, trio.current_time() - started)

    async def _pass_gate(self, receive: Receive) -> None:
        """Count inference requests in and out, and refuse them while draining."""
        if not is_gated(self._scope):
            await self._app(self._scope, receive, self.send)
        elif not self._drain.enter():
            await refuse_draining(self.send, self._scope)
        else:
            try:
                await self._app(self._scope, receive, self.send)
            finally:
                self._drain.leave()

    async def send(self, event: Event) -> None:
        """Pass an event of the answer on; its head gets the ids and what CORS grants."""
        if event["type"] == "http.response.start":
            self._started = True
            self._status = event["status"]
            kept = [pair for pair in event["headers"] if pair[0] not in ID_HEADERS]
            event = {**event, "headers": [*kept, *self._extra]}
        await self._send(event)


def _cancelled_only(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[1] is None
