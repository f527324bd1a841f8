"""What each kind of access means on the wire, and which refusals it implies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.openapi.operation import Auth

SCHEMES: Final[Mapping[str, Mapping[str, str]]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer …` with an API key, an identity token, or an admin key.",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key, as Anthropic's clients send it.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "db_sess",
        "description": "The cookie of a browser session; what changes something also needs the header `X-CSRF: 1`.",
    },
    "publishing_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Darkbloom-Publishing-Key",
        "description": "A key that may publish models; the admin key does too.",
    },
    "release_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "The key of `DARKBLOOM_RELEASE_KEY`, which registers releases and can do nothing else.",
    },
    "machine_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token that `darkbloom login` keeps on a linked machine.",
    },
    "metrics_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of `DARKBLOOM_METRICS_TOKEN`; a client on the coordinator's machine needs none.",
    },
}

_ACCEPTED: Final[Mapping[Auth, tuple[str, ...]]] = {
    "none": (),
    "key": ("bearer", "api_key", "session"),
    "user": ("bearer", "api_key", "session"),
    "session": ("session", "bearer"),
    "browser": ("session",),
    "admin": ("bearer", "session"),
    "admin_key": ("bearer",),
    "publishing": ("publishing_key", "bearer"),
    "release": ("release_key",),
    "machine": ("machine_token", "bearer", "session"),
    "metrics": ("metrics_token",),
    "stripe": (),
}
WORDS: Final[Mapping[Auth, str]] = {
    "none": "no key",
    "key": "API key or session",
    "user": "API key or session of a user account",
    "session": "signed-in person",
    "browser": "browser session, if there is one",
    "admin": "admin key or signed-in administrator",
    "admin_key": "admin key",
    "publishing": "publishing key",
    "release": "release key",
    "machine": "token of a linked machine, API key or session",
    "metrics": "metrics token, or loopback",
    "stripe": "signature of Stripe",
}
_REFUSALS: Final[Mapping[Auth, tuple[int, ...]]] = {
    "none": (),
    "key": (401, 403, 429, 503),
    "user": (401, 403, 429, 503),
    "session": (401, 403, 429, 503),
    "browser": (403, 503),
    "admin": (401, 403, 429, 503),
    "admin_key": (401, 403, 429, 503),
    "publishing": (401, 403, 429, 503),
    "release": (401, 429, 503),
    "machine": (401, 403, 429, 503),
    "metrics": (401,),
    "stripe": (503,),
}


def requirements(auth: Auth) -> list[dict[str, list[str]]]:
    """The alternatives of an operation, as OpenAPI's `security`; empty for everybody."""
    return [{name: []} for name in _ACCEPTED[auth]]


def refusals(auth: Auth) -> tuple[int, ...]:
    """The statuses with which callers of the wrong kind, or too eager ones, are sent away."""
    return _REFUSALS[auth]
