"""`GET /v1/key`: what an API key may find out about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.guards import require_api_key
from server.api.gate import answer_store_outage, private_answer
from server.api.keys import key_record
from server.store import NotFound

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.key_desk import KeyDesk
    from server.api.gate import AccountGate


def key_self_blueprint(gate: AccountGate, desk: KeyDesk) -> Blueprint:
    """Serve the record of the calling key; 404 for callers that are no stored key."""
    blueprint = Blueprint("key_self", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/key")
    async def own_key() -> Response:
        caller = require_api_key(await gate.caller())
        try:
            return private_answer(key_record(await desk.describe(caller.key_id)))
        except NotFound as error:
            raise ApiError(404, "not_found", str(error)) from None

    return blueprint
