"""The models as clients see them, with live capacity; a scan of the fleet, so its result is kept for two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from protocol.api.models import ModelDescription
from server.trust import TRUST_RANK

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry import ModelCapacity, Registry, Session

KEEP_SECONDS: Final = 2.0


class FleetView:
    """Descriptions and capacity rows of all known models; `clock` gives seconds."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self._scanned_at: float | None = None
        self._descriptions: dict[str, ModelDescription] = {}
        self._capacity: list[ModelCapacity] = []

    def descriptions(self) -> dict[str, ModelDescription]:
        """Every catalogued model that a trusted provider offers, by id; anyone else may invent names."""
        self._refresh()
        return self._descriptions

    def capacity(self) -> list[dict[str, object]]:
        """One row per model with a live provider, sorted by id."""
        self._refresh()
        rows: list[dict[str, object]] = [msgspec.to_builtins(row) for row in self._capacity]
        return rows

    def _refresh(self) -> None:
        now = self._clock()
        if self._scanned_at is not None and 0 <= now - self._scanned_at < KEEP_SECONDS:
            return
        self._scanned_at = now
        self._capacity = self._registry.capacity(now)
        rows = {row.id: row for row in self._capacity}
        offering: dict[str, list[Session]] = {}
        for session in self._registry.trusted_sessions():
            for model in session.caps.models:
                offering.setdefault(model, []).append(session)
        self._descriptions = {
            model: self._describe(model, sessions, rows.get(model))
            for model, sessions in offering.items()
            if self._registry.catalog.knows(model)
        }

    def _describe(self, model: str, sessions: list[Session], row: ModelCapacity | None) -> ModelDescription:
        attested = [session for session in sessions if session.trust.attested]
        levels = {session.trust.level for session in attested}
        offers = [session.caps.models[model] for session in sessions]
        return ModelDescription(
            model=model,
            context_length=self._registry.catalog.context_window(model) or None,
            input_modalities=("text", "image") if any(offer.is_vision for offer in offers) else ("text",),
            provider_count=len(sessions),
            attested_providers=len(attested),
            trust_level=max(levels, key=TRUST_RANK.__getitem__, default="none"),
            routable_providers=row.routable_providers if row is not None else 0,
            warm_providers=row.warm_providers if row is not None else 0,
            can_accept=row.can_accept if row is not None else False,
        )
