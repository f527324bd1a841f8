"""An error of the public API as a complete ASGI answer, in the envelope of the dialect that the path belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.anthropic import anthropic_envelope
from protocol.api.errors import ApiError, openai_envelope
from server.observe.context import request_id

if TYPE_CHECKING:
    from server.serve.asgi_types import Send

_ANTHROPIC_PATH: Final = "/v1/messages"


def error_body(path: str, error: ApiError) -> bytes:
    """The JSON of `error` for a request of this path: Anthropic's envelope for messages, else OpenAI's."""
    if path == _ANTHROPIC_PATH or path.startswith(f"{_ANTHROPIC_PATH}/"):
        return msgspec.json.encode(anthropic_envelope(error, request_id.get()))
    return msgspec.json.encode(openai_envelope(error))


async def send_error(send: Send, path: str, error: ApiError) -> None:
    """Send status, headers and envelope of `error`."""
    body = error_body(path, error)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in error.headers()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
