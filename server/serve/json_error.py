"""An error of the public API as a complete ASGI answer, for the layers outside the application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from protocol.api.errors import ApiError, openai_envelope

if TYPE_CHECKING:
    from server.serve.asgi_types import Send


async def send_error(send: Send, error: ApiError) -> None:
    """Send status, headers and envelope of `error`."""
    body = msgspec.json.encode(openai_envelope(error))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
