"""`GET /v1/models` and `GET /v1/models/{id}`: what can be asked for, in the shapes that clients and resellers read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import model_not_found
from protocol.api.models import anthropic_entry, anthropic_list, model_entry, model_list
from server.api.browser_call import caller_of
from server.api.inference import SELF_ROUTE_HEADER
from server.api.json_answer import json_answer
from server.api.model_list import ModelList
from server.api.model_prices import NO_PRICES
from server.api.openrouter import openrouter_list

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts import Identity
    from server.api.model_list import Listed
    from server.api.model_prices import PriceTable
    from server.api.services import ApiServices

ANTHROPIC_HEADER: Final = "anthropic-version"
"""Clients that send it read the list in Anthropic's shape."""
_BUILDS_TOO: Final = ("1", "true")


def models_blueprint(services: ApiServices) -> Blueprint:
    """Serve the model list; a key sees only the models that it may use, one for own machines only what those serve."""
    blueprint = Blueprint("models", __name__)
    models = ModelList(services.registry, services.aliases, services.clock)

    def visible(identity: Identity) -> dict[str, Listed]:
        wish = request.headers.get(SELF_ROUTE_HEADER, "").strip().lower()
        own = identity.self_route_only or wish == "self"
        found = models.owned(identity.account_id) if own else models.public()
        return {name: one for name, one in found.items() if identity.may_use(name)}

    async def prices() -> PriceTable:
        return NO_PRICES if services.prices is None else await services.prices.table()

    @blueprint.get("/v1/models")
    async def list_models() -> Response:
        identity = await caller_of(services.door)
        builds_too = request.args.get("include_builds", "") in _BUILDS_TOO
        table = await prices()
        shown = [one.priced(table) for one in visible(identity).values() if builds_too or not one.is_hidden]
        return json_answer(anthropic_list(shown) if ANTHROPIC_HEADER in request.headers else model_list(shown))

    @blueprint.get("/v1/models/<path:model>")
    async def one_model(model: str) -> Response:
        identity = await caller_of(services.door)
        found = visible(identity).get(model)
        if found is None:
            raise model_not_found(model)
        shown = found.priced(await prices())
        return json_answer(anthropic_entry(shown) if ANTHROPIC_HEADER in request.headers else model_entry(shown))

    @blueprint.get("/v1/models/openrouter")
    async def for_resellers() -> Response:
        identity = await caller_of(services.door)
        table = await prices()
        shown = [one.priced(table) for name, one in models.offered().items() if identity.may_use(name)]
        return json_answer(openrouter_list(shown))

    return blueprint
