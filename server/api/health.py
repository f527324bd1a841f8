"""`GET /health` (the process lives) and `GET /readyz` (it takes requests)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio
from quart import Blueprint

from server.api.json_answer import json_answer
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.api.services import ApiServices
    from server.store import Store

PING_SECONDS: Final = 3.0


def health_blueprint(services: ApiServices) -> Blueprint:
    """Serve liveness and readiness; neither needs a key. Readiness asks the database, liveness does not."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/health")
    async def health() -> Response:
        body: dict[str, object] = {
            "status": "ok",
            "providers": len(services.registry.sessions()),
            "version": services.version,
            "build_commit": services.build_commit,
        }
        if services.drain.draining:
            body["draining"] = True
        return json_answer(body)

    @blueprint.get("/readyz")
    async def readyz() -> Response:
        draining, inflight = services.drain.draining, services.drain.inflight
        reason = services.supervisor.health_reason or await _store_problem(services.store)
        ready = not draining and reason is None
        body: dict[str, object] = {"draining": draining, "inflight": inflight, "ready": ready}
        if reason is not None:
            body["health_reason"] = reason
        return json_answer(body, status=200 if ready else 503)

    return blueprint


async def _store_problem(store: Store) -> str | None:
    """Why the database cannot be worked with; None if it can."""
    with trio.move_on_after(PING_SECONDS):
        try:
            await store.ping()
        except StoreUnavailable:
            return "database"
        return None
    return "database"
