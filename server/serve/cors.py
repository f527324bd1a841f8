"""The outermost layer's rule: browsers of allowed origins may call the API; every other origin gets no permission."""

from __future__ import annotations

from typing import Final

from server.serve.asgi_types import Scope, Send, header

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

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def granted(self, origin: str) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers that permit an origin to read an answer; none for an origin outside the list."""
        if origin not in self._origins:
            return ()
        return (
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        )

    async def answer_preflight(self, scope: Scope, send: Send, granted: tuple[tuple[bytes, bytes], ...]) -> bool:
        """Answer a preflight of an allowed origin; False when the request is none."""
        if scope["method"] != "OPTIONS" or header(scope, b"access-control-request-method") is None:
            return False
        allowed = [(b"access-control-allow-methods", _METHODS), (b"access-control-allow-headers", _HEADERS)]
        await send({"type": "http.response.start", "status": 204, "headers": [*granted, *allowed]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True
