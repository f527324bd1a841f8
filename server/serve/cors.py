"""The outermost layer: browsers of allowed origins may call the API; every other origin gets no permission."""

from __future__ import annotations

from typing import Final

from server.serve.asgi_types import AsgiApp, Event, Receive, Scope, Send, header

_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS: Final = (
    b"Content-Type, Authorization, X-Darkbloom-Metadata-Details, X-Darkbloom-Route, X-Request-ID, x-api-key, "
    b"anthropic-version, anthropic-beta"
)
_EXPOSED: Final = (
    b"X-Request-ID, X-Timing, X-Inference-Job-ID, Retry-After, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)


class Cors:
    """Reflects an origin of the list, with credentials; answers its preflights with 204."""

    def __init__(self, app: AsgiApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        origin = header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None or origin not in self._origins:
            await self._app(scope, receive, send)
            return
        granted = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]
        if scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None:
            allowed = [(b"access-control-allow-methods", _METHODS), (b"access-control-allow-headers", _HEADERS)]
            await send({"type": "http.response.start", "status": 204, "headers": [*granted, *allowed]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_granted(event: Event) -> None:
            if event["type"] == "http.response.start":
                event = {**event, "headers": [*event["headers"], *granted]}
            await send(event)

        await self._app(scope, receive, send_granted)
