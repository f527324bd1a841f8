"""The layer that names each request, writes its access line when the answer ended, and counts it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from server.observe import Metrics, choose_request_id, mask_ip, mint_coord_request_id, request_scope
from server.serve.asgi_types import AsgiApp, Event, Receive, Scope, Send, header

if TYPE_CHECKING:
    from server.observe import RequestNotes

_log = logging.getLogger("darkbloom.access")

# The consumer left before it got an answer; never sent, only logged and counted.
CLIENT_GONE: Final = 499
ID_HEADERS: Final = (b"x-request-id", b"request-id")
# Shown at debug level only: they come every few seconds and tell nothing.
QUIET_ROUTES: Final = frozenset({"/health", "/readyz", "/metrics"})


class RequestLog:
    """Gives every answer `X-Request-ID` (and `request-id`, the name that Anthropic's SDK reads)."""

    def __init__(self, app: AsgiApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with its ids set; other kinds of scope pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        public_id = choose_request_id(header(scope, b"x-request-id"))
        id_headers = [(name, public_id.encode()) for name in ID_HEADERS]
        status = CLIENT_GONE
        started = trio.current_time()

        async def send_with_id(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                kept = [
                    pair for pair in event["headers"] if bytes(pair[0]).lower() not in (b"x-request-id", b"request-id")
                ]
                event = {**event, "headers": [*kept, *id_headers]}
            await send(event)

        with request_scope(public_id, mint_coord_request_id()) as notes:
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                self._write(scope, notes, status, trio.current_time() - started)

    def _write(self, scope: Scope, notes: RequestNotes, status: int, seconds: float) -> None:
        method = scope["method"]
        self._metrics.http_requests.inc(method, notes.route, str(status))
        self._metrics.http_request_seconds.observe(method, notes.route, amount=seconds)
        level = logging.DEBUG if notes.route in QUIET_ROUTES and status < 400 else logging.INFO
        if _log.isEnabledFor(level):
            fields = {
                "method": method,
                "path": scope["path"][:256],
                "route": notes.route,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
                "remote": mask_ip((scope.get("client") or ("",))[0]),
            }
            if notes.account_id is not None:
                fields["account"] = notes.account_id
            _log.log(level, "request", extra=fields)
