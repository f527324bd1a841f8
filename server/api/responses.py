"""`POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.api.responses import MEMBER_NAMES, ResponsesDialect, parse_responses_request
from server.api.inference import Asked, inference_endpoint

if TYPE_CHECKING:
    from server.api.call import Endpoint
    from server.api.services import ApiServices

RESPONSES_PATH: Final = "/v1/responses"


def responses_endpoint(services: ApiServices) -> Endpoint:
    """Serve the Responses API, streaming and not."""
    return inference_endpoint(services, _read)


def _read(body: bytes, check_model: Callable[[str], None], limit_bytes: int) -> Asked:
    request = parse_responses_request(body, check_model=check_model, limit_bytes=limit_bytes)
    return Asked(request.chat, ResponsesDialect(request.echo), names=MEMBER_NAMES)
