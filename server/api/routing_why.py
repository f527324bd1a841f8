"""Why routing did what it did: `/v1/me/providers/{id}/why` for owners, `/v1/admin/routing/…` for administrators.

Nothing here holds any of a prompt or an answer; every answer is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from quart import Blueprint

from protocol.api.errors import ApiError
from server.accounts.guards import require_admin
from server.api.gate import answer_store_outage, private_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart.wrappers import Response

    from server.api.gate import AccountGate
    from server.registry import Registry
    from server.registry.state import Session


def routing_why_blueprint(gate: AccountGate, registry: Registry, clock: Callable[[], float]) -> Blueprint:
    """Serve the explanations; `clock` is the registry's."""
    blueprint = Blueprint("routing_why", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/me/providers/<provider_id>/why")
    async def why(provider_id: str) -> Response:
        person = await gate.person()
        session = _owned(registry, person.account_id, provider_id)
        return private_answer(msgspec.to_builtins(registry.explain(session, clock())))

    @blueprint.get("/v1/admin/routing/providers/<provider_id>")
    async def provider(provider_id: str) -> Response:
        require_admin(await gate.caller())
        session = registry.session(provider_id)
        if session is None:
            raise _unknown("No machine with this id is connected; ids of connections change when a machine reconnects.")
        return private_answer(msgspec.to_builtins(registry.explain(session, clock())))

    @blueprint.get("/v1/admin/routing/requests/<request_id>")
    async def request_trace(request_id: str) -> Response:
        require_admin(await gate.caller())
        attempts = registry.traces.of(request_id)
        if not attempts:
            raise _unknown("Nothing is known of this request any more; only the last ones are kept, in memory.")
        return private_answer({"request_id": request_id, "attempts": msgspec.to_builtins(attempts)})

    @blueprint.get("/v1/admin/routing/models/<path:model>")
    async def model_state(model: str) -> Response:
        require_admin(await gate.caller())
        pool = registry.pool(model)
        if pool is None:
            raise _unknown("No connected machine offers this model.")
        tally = {reason.value if reason is not None else "passed": count for reason, count in pool.tally().items()}
        return private_answer(
            {
                "model": model,
                "providers": pool.size,
                "by_first_gate": tally,
                "totals": pool.sums.total._asdict(),
                "queued": registry.queue_depth(model),
            }
        )

    return blueprint


def _owned(registry: Registry, account_id: str, provider_id: str) -> Session:
    """Find a connected machine of the account by the id of its connection or of its identity."""
    for session in registry.owned(account_id):
        if provider_id in (session.session_id, session.ident.stable_id):
            return session
    raise _unknown("No machine of yours with this id is connected; start it, or look up its present id.")


def _unknown(text: str) -> ApiError:
    return ApiError(404, "not_found", text)
