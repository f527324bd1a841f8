"""`GET /v1/models`, `GET /v1/models/{id}` and `GET /v1/models/capacity`: what can be asked for, with live capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import model_not_found
from protocol.api.models import anthropic_entry, anthropic_list, model_entry, model_list
from server.api.browser_call import caller_of
from server.api.fleet_view import FleetView
from server.api.json_answer import json_answer

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.services import ApiServices

ANTHROPIC_HEADER: Final = "anthropic-version"
"""Clients that send it read the list in Anthropic's shape."""


def models_blueprint(services: ApiServices) -> Blueprint:
    """Serve the model list; a key sees only the models that it may use."""
    blueprint = Blueprint("models", __name__)
    fleet = FleetView(services.registry, services.clock)

    @blueprint.get("/v1/models")
    async def list_models() -> Response:
        identity = await caller_of(services.door)
        shown = [one for model, one in fleet.descriptions().items() if identity.may_use(model)]
        return json_answer(anthropic_list(shown) if ANTHROPIC_HEADER in request.headers else model_list(shown))

    @blueprint.get("/v1/models/<path:model>")
    async def one_model(model: str) -> Response:
        identity = await caller_of(services.door)
        found = fleet.descriptions().get(model)
        if found is None or not identity.may_use(model):
            raise model_not_found(model)
        return json_answer(anthropic_entry(found) if ANTHROPIC_HEADER in request.headers else model_entry(found))

    @blueprint.get("/v1/models/capacity")
    async def capacity() -> Response:
        return json_answer({"models": fleet.capacity()})

    return blueprint
