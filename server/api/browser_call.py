"""The caller of the request that quart serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

if TYPE_CHECKING:
    from server.accounts import Identity
    from server.api.auth import Door


async def caller_of(door: Door) -> Identity:
    """Find the caller of the current request; raises ApiError."""
    return await door.identify(
        request.headers, method=request.method, scheme=request.scheme, ip=request.remote_addr or ""
    )
