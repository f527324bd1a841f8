"""What the controllers read of the fleet: the registry implements it, and so does a simulated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from server.registry.demand import Demand
    from server.registry.gates import GateContext
    from server.registry.loads import LoadDurations
    from server.registry.pool import Pool
    from server.registry.state import LoadCause, Session


class FleetReader(Protocol):
    """The fleet and its queues; every call is synchronous, `now` is the monotonic clock in seconds."""

    load_durations: LoadDurations
    demand: Demand

    @property
    def gate_context(self) -> GateContext:
        """What the gates share."""

    def sessions(self) -> Collection[Session]:
        """All live sessions."""

    def pool(self, model: str) -> Pool | None:
        """The running sums of those who offer a model; None when nobody does."""

    def offering(self, model: str) -> Collection[Session]:
        """The live sessions that offer a model."""

    def queued_models(self) -> tuple[str, ...]:
        """Models with at least one waiter."""

    def queue_depth(self, model: str) -> int:
        """Waiters of a model."""

    def queue_oldest_age(self, model: str, now: float) -> float:
        """Seconds that the oldest waiter of a model has waited."""

    def request_load(self, session_id: str, model: str, cause: LoadCause, now: float) -> bool:
        """Note that a load is about to be ordered; False when it must not be."""
