"""The certificates that this process trusts when it connects to others: those of the system."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def trusted_authorities() -> ssl.SSLContext:
    """Return a client context that its users share; the first call reads some hundred certificates, 10 to 40 ms."""
    return ssl.create_default_context()
