"""`GET /v1/models/capacity`: the room of each model, for routers in front of this one; open to everybody.

Rows are made anew every two seconds at most, whoever asks how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from quart import Blueprint

from server.api.json_answer import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart.wrappers import Response

    from server.api.services import ApiServices
    from server.catalog import ModelDirectory
    from server.registry import ModelCapacity, Registry

KEEP_SECONDS: Final = 2.0


class CapacityBoard:
    """The rows of all models with a live provider, sorted by id; an alias has the row of the build that serves it."""

    def __init__(self, registry: Registry, aliases: ModelDirectory, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._aliases = aliases
        self._clock = clock
        self._made_at: float | None = None
        self._rows: list[dict[str, object]] = []

    def rows(self) -> list[dict[str, object]]:
        """Give the rows."""
        now = self._clock()
        if self._made_at is None or not 0 <= now - self._made_at < KEEP_SECONDS:
            self._made_at = now
            self._rows = [msgspec.to_builtins(row) for row in self._make(now)]
        return self._rows

    def _make(self, now: float) -> list[ModelCapacity]:
        rows = {row.id: row for row in self._registry.capacity(now)}
        for alias in self._aliases.aliases():
            serving = [rows[build] for build in alias.builds if build in rows]
            # The desired build first; a request falls back to the other one when it has no room.
            row = next((one for one in serving if one.can_accept), serving[0] if serving else None)
            if row is not None and alias.id not in rows:
                rows[alias.id] = msgspec.structs.replace(row, id=alias.id)
        return [rows[name] for name in sorted(rows)]


def capacity_blueprint(services: ApiServices) -> Blueprint:
    """Serve the rows."""
    blueprint = Blueprint("capacity", __name__)
    board = CapacityBoard(services.registry, services.aliases, services.clock)

    @blueprint.get("/v1/models/capacity")
    async def capacity() -> Response:
        return json_answer({"models": board.rows()})

    return blueprint
