"""The layer that turns a crash of a handler into an answer: 500 before the head was sent, a broken answer after it."""

from __future__ import annotations

import logging

import trio

from protocol.api.errors import ApiError
from server.serve.asgi_types import AsgiApp, Event, Receive, Scope, Send
from server.serve.json_error import send_error

_log = logging.getLogger("darkbloom.recovery")


class Recovery:
    """Logs the crash as type and place, answers `internal_error`; a started answer goes on to be aborted outside."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; cancellation passes untouched."""
        started = False

        async def watched_send(event: Event) -> None:
            nonlocal started
            started = started or event["type"] == "http.response.start"
            await send(event)

        try:
            await self._app(scope, receive, watched_send)
        except (Exception, BaseExceptionGroup) as error:
            if scope["type"] != "http" or started or _cancelled_only(error):
                raise
            _log.error("a handler crashed", exc_info=error)
            await send_error(send, ApiError(500, "internal_error", "internal server error"))


def _cancelled_only(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[1] is None
