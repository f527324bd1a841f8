"""What every request in the relay shares, and what watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from server.relay.chunk_queue import QueueBounds
from server.relay.clocks import RelayTimes
from server.relay.funds import FreeOfCharge
from server.relay.history import AttemptLimits

if TYPE_CHECKING:
    from server.registry.registry import Registry
    from server.relay.funds import Funds
    from server.relay.settlement import Settlement, SettlementRecord

AttemptResult = Literal[
    "success",
    "partial",
    "broken",
    "client",
    "template",
    "unservable",
    "capacity",
    "draining",
    "timeout",
    "noncompliant",
    "unaffordable",
    "neutral",
    "fault",
    "abandoned",
]
"""How one attempt ended; the closed set of its metric label."""

SEAL_INLINE_BYTES: Final = 256 * 1024
"""Larger bodies are sealed in a worker thread: the loop must not stand still for milliseconds."""


class RelayObserver(Protocol):
    """Counts what the relay does; synchronous, never raises."""

    def attempt_ended(self, model: str, result: AttemptResult) -> None:
        """One dispatch attempt is over."""

    def request_ended(self, record: SettlementRecord) -> None:
        """One request is over; called when its settlement starts."""

    def settlement_failed(self) -> None:
        """A settlement raised or did not end in time; its hold is freed by expiry."""


class SilentObserver:
    """Counts nothing."""

    def attempt_ended(self, model: str, result: AttemptResult) -> None:
        """Do nothing."""

    def request_ended(self, record: SettlementRecord) -> None:
        """Do nothing."""

    def settlement_failed(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayServices:
    """Collaborators and limits of the relay; built once at start."""

    registry: Registry
    settlement: Settlement
    funds: Funds = field(default_factory=FreeOfCharge)
    observer: RelayObserver = field(default_factory=SilentObserver)
    times: RelayTimes = field(default_factory=RelayTimes)
    limits: AttemptLimits = field(default_factory=AttemptLimits)
    bounds: QueueBounds = field(default_factory=QueueBounds)
    seal_inline_bytes: int = SEAL_INLINE_BYTES
