"""Grants backups to requests that wait for their first content: the governor, asked with what the fleet has idle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.relay.hedge import HedgeGovernor, IdlePlaces

if TYPE_CHECKING:
    from server.pool.fleet_reader import FleetReader
    from server.registry.state import Session
    from server.relay.hedge import HedgePolicy, HedgeTicket, HedgeVerdict


class FleetHedging:
    """Implements the relay's Hedging over the live fleet."""

    def __init__(self, fleet: FleetReader, policy: HedgePolicy | None = None) -> None:
        self._fleet = fleet
        self.governor = HedgeGovernor(policy)

    @property
    def at(self) -> float:
        """See Hedging."""
        return self.governor.policy.at

    def claim(self, model: str, primary: Session, now: float) -> HedgeTicket | HedgeVerdict:
        """See Hedging."""
        del now
        return self.governor.of(model).claim(
            queued=self._fleet.queue_depth(model), idle=self.idle_besides(model, primary)
        )

    def idle_besides(self, model: str, primary: Session) -> IdlePlaces:
        """Free places of the model's warm machines without the one that is waited for, which is not idle."""
        pool = self._fleet.pool(model)
        if pool is None:
            return IdlePlaces(slots=0, alternative=False)
        entry = primary.entries.get(model)
        own = entry.free_places if entry is not None else 0
        return IdlePlaces(slots=max(0, pool.idle_slots - own), alternative=pool.idle_providers > 0)
