"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.api import parse_chat_request
from server.api.inference import Asked, inference_endpoint

if TYPE_CHECKING:
    from server.api.call import Endpoint
    from server.api.services import ApiServices

CHAT_PATH: Final = "/v1/chat/completions"


def chat_endpoint(services: ApiServices) -> Endpoint:
    """Serve chat completions, streaming and not."""
    return inference_endpoint(services, _read)


def _read(body: bytes, check_model: Callable[[str], None], limit_bytes: int) -> Asked:
    chat = parse_chat_request(body, check_model=check_model, limit_bytes=limit_bytes)
    return Asked(chat, is_chat=True)
