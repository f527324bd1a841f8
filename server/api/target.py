"""What a public model name means for a request: the build, the output bound, and whether the model can do it at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.api.chat_request import DEFAULT_OUTPUT_TOKENS
from protocol.api.errors import invalid_request, model_not_found

if TYPE_CHECKING:
    from protocol.api import ChatRequest
    from server.registry import Registry


@dataclass(frozen=True, slots=True)
class Target:
    """The build to route to, and the output bound that routing, holds and the provider share."""

    build: str
    max_tokens: int


def resolve_target(registry: Registry, chat: ChatRequest) -> Target:
    """Resolve a request against the catalogue.

    Raises ApiError: 404 for an unknown model, 400 for media that no offered copy of the model reads and for media
    together with a forced tool.
    """
    model = chat.public_model
    if not registry.catalog.knows(model):
        raise model_not_found(model)
    if chat.has_media:
        _check_media(registry, chat)
    return Target(build=model, max_tokens=_output_bound(chat, registry.catalog.context_window(model)))


def _check_media(registry: Registry, chat: ChatRequest) -> None:
    offers = [ad for session in registry.sessions() if (ad := session.caps.models.get(chat.public_model)) is not None]
    if offers and not any(ad.is_vision for ad in offers):
        raise invalid_request(
            "This model reads no images or videos; send text, or use another model.", param="messages"
        )
    if chat.forces_tool:
        raise invalid_request("A forced tool and media cannot be combined; drop one of them.", param="tool_choice")


def _output_bound(chat: ChatRequest, context_window: int) -> int:
    """The caller's bound as it is; the default one leaves the prompt its room in a known context."""
    if chat.requested_max is not None or context_window <= 0:
        return chat.output_bound()
    return max(1, min(DEFAULT_OUTPUT_TOKENS, context_window - chat.prompt_tokens_estimate))
