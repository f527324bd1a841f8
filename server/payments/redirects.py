"""Where a payee may be sent after Stripe's pages: our console or the payee's own machine, nowhere else."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

MAX_URL_CHARACTERS: Final = 2048
_LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_safe_redirect(target: str, *, configured: str | None) -> bool:
    """Whether `target` may be given to Stripe as a return address.

    Its host must be this machine's, or the host of the configured return URL; without configuration any https host is
    fine. Addresses with credentials, control characters or backslashes, which browsers read differently, never are.
    """
    if (
        not 0 < len(target) <= MAX_URL_CHARACTERS
        or "\\" in target
        or any(ord(c) <= 32 or ord(c) == 127 for c in target)
    ):
        return False
    try:
        parts = urlsplit(target)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.password is not None:
        return False
    if host in _LOCAL_HOSTS:
        return True
    if configured is None:
        return parts.scheme == "https"
    own = urlsplit(configured)
    return host == own.hostname and (parts.scheme == "https" or own.scheme == "http")
