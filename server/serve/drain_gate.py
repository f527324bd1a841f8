"""What a draining coordinator refuses, before any other work is done for it: new inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.api.errors import rate_limited
from server.serve.json_error import send_error

if TYPE_CHECKING:
    from server.serve.asgi_types import Scope, Send

INFERENCE_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"})
RETRY_AFTER_SECONDS: Final = 3.0


def is_gated(scope: Scope) -> bool:
    """True for inference requests; everything else passes while draining."""
    return bool(scope["method"] == "POST" and scope["path"] in INFERENCE_PATHS)


async def refuse_draining(send: Send, scope: Scope) -> None:
    """Answer 429 with `Retry-After: 3`."""
    text = "The coordinator is restarting; try again in a few seconds."
    refusal = rate_limited(text, retry_after_seconds=RETRY_AFTER_SECONDS, reason="draining")
    await send_error(send, scope["path"], refusal)
