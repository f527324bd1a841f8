"""One HTTP call to the identity provider, bounded in size and in time as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping

DEADLINE_SECONDS: Final = 10.0


class CallFailed(Exception):
    """No complete answer came: a broken connection, too many bytes, or too slow."""


async def call(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    max_bytes: int,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    auth: httpx.Auth | None = None,
) -> tuple[int, bytes]:
    """Give status and body; raises CallFailed, whose text names neither the address nor the credentials."""
    received = bytearray()
    status = 0
    with trio.move_on_after(DEADLINE_SECONDS) as scope:
        try:
            async with client.stream(method, url, content=content, headers=headers, auth=auth) as response:
                async for part in response.aiter_bytes():
                    received += part
                    if len(received) > max_bytes:
                        # Cancelled inside, so that httpx takes its own iterators down in order.
                        scope.cancel()
                status = response.status_code
        except httpx.HTTPError as error:
            raise CallFailed(type(error).__name__) from None
    if scope.cancelled_caught or len(received) > max_bytes:
        raise CallFailed("too large or too slow")
    return status, bytes(received)
