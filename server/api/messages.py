"""`POST /v1/messages`: Anthropic's dialect of the same inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.api.anthropic import MEMBER_NAMES, MessagesDialect, lower_messages
from server.api.anthropic_limits import showing_anthropic_limits
from server.api.inference import Asked, inference_endpoint
from server.observe.context import request_id

if TYPE_CHECKING:
    from server.api.call import Endpoint
    from server.api.services import ApiServices

MESSAGES_PATH: Final = "/v1/messages"


def messages_endpoint(services: ApiServices) -> Endpoint:
    """Serve messages, streaming and not."""
    return showing_anthropic_limits(inference_endpoint(services, _read), services.wall_clock)


def _read(body: bytes, check_model: Callable[[str], None], limit_bytes: int) -> Asked:
    lowered = lower_messages(body, check_model=check_model, limit_bytes=limit_bytes)
    dialect = MessagesDialect(
        stop_sequences=lowered.stop_sequences, has_tools=lowered.chat.has_tools, request_id=request_id.get()
    )
    return Asked(lowered.chat, dialect, names=MEMBER_NAMES)
