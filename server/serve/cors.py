"""The outermost layer's rule: which pages of other origins may read an answer.

Whoever asks may read the public facts (`*`). Everything else is for the origins of DARKBLOOM_CORS_ORIGINS, none by
default and none implied. No answer permits credentials: a page of another origin sends an API key, never a cookie.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from server.serve.asgi_types import Scope, Send, header

HeaderPairs: TypeAlias = tuple[tuple[bytes, bytes], ...]

# Answered without a key, and the same for everybody.
PUBLIC_PATHS: Final = frozenset(
    {
        "/api/version",
        "/health",
        "/openapi.json",
        "/readyz",
        "/v1/encryption-key",
        "/v1/leaderboard",
        "/v1/models/capacity",
        "/v1/models/catalog",
        "/v1/network/series",
        "/v1/network/totals",
        "/v1/pricing",
        "/v1/providers/attestation",
        "/v1/releases/latest",
        "/v1/runtime/manifest",
        "/v1/stats",
    }
)

PUBLIC_PREFIX: Final = "/v1/models/catalog/"

_READS: Final = ("GET", "HEAD")
_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS: Final = (
    b"Content-Type, Authorization, X-Darkbloom-Metadata-Details, X-Darkbloom-Route, X-Request-ID, x-api-key, "
    b"anthropic-version, anthropic-beta, X-Darkbloom-Pad, X-Darkbloom-Count"
)
_EXPOSED: Final = (
    b"X-Request-ID, request-id, X-Timing, X-Inference-Job-ID, Retry-After, x-should-retry, "
    b"X-Provider-Id, X-Provider-Attested, X-Provider-Trust-Level, X-Provider-Chip, X-Provider-Model, "
    b"X-Provider-Encrypted, X-Provider-Secure-Enclave, X-Provider-Mda-Verified, X-Attestation-Se-Public-Key, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-input-tokens, x-ratelimit-remaining-input-tokens, x-ratelimit-reset-input-tokens, "
    b"x-ratelimit-limit-output-tokens, x-ratelimit-remaining-output-tokens, x-ratelimit-reset-output-tokens, "
    b"X-RateLimit-Reset, "
    b"anthropic-ratelimit-requests-limit, anthropic-ratelimit-requests-remaining, anthropic-ratelimit-requests-reset, "
    b"anthropic-ratelimit-input-tokens-limit, anthropic-ratelimit-input-tokens-remaining, "
    b"anthropic-ratelimit-input-tokens-reset, anthropic-ratelimit-output-tokens-limit, "
    b"anthropic-ratelimit-output-tokens-remaining, anthropic-ratelimit-output-tokens-reset, "
    b"X-Eigen-Sealed, X-Eigen-Sealed-Kid"
)
_PUBLIC: Final[HeaderPairs] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", _EXPOSED),
)
# The answer depends on the origin as soon as one is listed: a cache must not serve one origin's to another.
_VARIES: Final[HeaderPairs] = ((b"vary", b"Origin"),)
# How long a browser may remember the answer to a preflight, in seconds.
_MAX_AGE: Final = b"600"


class Cors:
    """Reflects an origin of the list, and answers its preflights with 204; the list holds `scheme://host[:port]`."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    def headers(self, scope: Scope) -> HeaderPairs:
        """Return what an answer says to browsers; empty where every page of another origin is kept out."""
        if _is_public(scope["path"]) and _asked_method(scope) in _READS:
            return _PUBLIC
        if not self._origins:
            return ()
        origin = header(scope, b"origin")
        if origin not in self._origins:
            return _VARIES
        return (
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED),
            *_VARIES,
        )

    async def answer_preflight(self, scope: Scope, send: Send, headers: HeaderPairs) -> bool:
        """Answer a preflight that `headers` permit; False for another request, and for an origin without permission."""
        if scope["method"] != "OPTIONS" or header(scope, b"access-control-request-method") is None:
            return False
        if headers in ((), _VARIES):
            return False
        methods = b", ".join(name.encode() for name in _READS) if headers is _PUBLIC else _METHODS
        allowed = (
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", _HEADERS),
            (b"access-control-max-age", _MAX_AGE),
        )
        await send({"type": "http.response.start", "status": 204, "headers": [*headers, *allowed]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


def _is_public(path: str) -> bool:
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX)


def _asked_method(scope: Scope) -> str:
    """Return the method of a request, for a preflight that of the request behind it."""
    if scope["method"] == "OPTIONS":
        return header(scope, b"access-control-request-method") or ""
    method: str = scope["method"]
    return method
