"""The layer that refuses new inference while the coordinator drains, before any other work is done for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.errors import rate_limited
from server.serve.asgi_types import AsgiApp, Receive, Scope, Send
from server.serve.json_error import send_error

if TYPE_CHECKING:
    from server.serve.drain import Drain

INFERENCE_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})
RETRY_AFTER_SECONDS: Final = 3.0


class DrainGate:
    """Counts inference requests in and out; while draining they get 429 with `Retry-After: 3`."""

    def __init__(self, app: AsgiApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; everything but inference passes through."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in INFERENCE_PATHS:
            await self._app(scope, receive, send)
            return
        if not self._drain.enter():
            text = "The coordinator is restarting; try again in a few seconds."
            await send_error(send, rate_limited(text, retry_after_seconds=RETRY_AFTER_SECONDS, reason="draining"))
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.leave()
