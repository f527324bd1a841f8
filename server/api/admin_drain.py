"""`POST /v1/admin/drain`: administrators stop new inference before a restart, and let it in again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint

from protocol.api.errors import invalid_request
from server.accounts.guards import require_admin
from server.api.gate import answer_store_outage, private_answer, read_object

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.gate import AccountGate
    from server.serve.drain import Drain


def admin_drain_blueprint(gate: AccountGate, drain: Drain) -> Blueprint:
    """Serve the switch to administrators; what runs goes on, and no stored state changes."""
    blueprint = Blueprint("admin_drain", __name__)
    answer_store_outage(blueprint)

    @blueprint.post("/v1/admin/drain")
    async def switch() -> Response:
        require_admin(await gate.caller())
        wish = (await read_object("invalid_request", empty_ok=True)).get("draining", True)
        if not isinstance(wish, bool):
            raise invalid_request("draining must be true or false.", param="draining")
        drain.set(draining=wish)
        return private_answer({"draining": drain.draining, "inflight": drain.inflight})

    return blueprint
