"""`POST /v1/completions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocol.api.completions import COMPLETIONS, MEMBER_NAMES, parse_completion_request
from server.api.inference import Asked, inference_endpoint

if TYPE_CHECKING:
    from server.api.call import Endpoint
    from server.api.services import ApiServices

COMPLETIONS_PATH: Final = "/v1/completions"


def completions_endpoint(services: ApiServices) -> Endpoint:
    """Serve legacy completions, streaming and not."""
    return inference_endpoint(services, _read)


def _read(body: bytes, check_model: Callable[[str], None], limit_bytes: int) -> Asked:
    chat = parse_completion_request(body, check_model=check_model, limit_bytes=limit_bytes)
    return Asked(chat, COMPLETIONS, names=MEMBER_NAMES)
