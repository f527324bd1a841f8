"""What every request in the relay shares, and what watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

import trio

from server.relay.chunk_queue import QueueBounds
from server.relay.clocks import RelayTimes
from server.relay.funds import FreeOfCharge
from server.relay.history import AttemptLimits

if TYPE_CHECKING:
    from server.registry.registry import Registry
    from server.registry.state import Session
    from server.relay.funds import Funds
    from server.relay.hedge import HedgeTicket, HedgeVerdict
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
    "hedge_lost",
]
"""How one attempt ended; the closed set of its metric label."""

SEAL_INLINE_BYTES: Final = 256 * 1024
"""Larger bodies are sealed in a worker thread: the loop must not stand still for milliseconds."""


class RelayObserver(Protocol):
    """Counts what the relay does; synchronous, never raises."""

    def attempt_ended(self, model: str, result: AttemptResult) -> None:
        """One dispatch attempt is over."""

    def hedge_decided(self, model: str, verdict: HedgeVerdict) -> None:
        """A request waited long for its first content: whether it got a backup."""

    def hedge_ended(self, model: str, *, won: bool) -> None:
        """A backup that was sent is over: it answered first, or not."""

    def cache_answered(self, model: str, *, hit: bool) -> None:
        """A machine that was chosen for the beginning of a prompt has answered: whether it still held it."""

    def request_ended(self, record: SettlementRecord) -> None:
        """One request is over; called when its settlement starts."""

    def settlement_failed(self) -> None:
        """A settlement raised or did not end in time; its hold is freed by expiry."""


class SilentObserver:
    """Counts nothing."""

    def attempt_ended(self, model: str, result: AttemptResult) -> None:
        """Do nothing."""

    def hedge_decided(self, model: str, verdict: HedgeVerdict) -> None:
        """Do nothing."""

    def hedge_ended(self, model: str, *, won: bool) -> None:
        """Do nothing."""

    def cache_answered(self, model: str, *, hit: bool) -> None:
        """Do nothing."""

    def request_ended(self, record: SettlementRecord) -> None:
        """Do nothing."""

    def settlement_failed(self) -> None:
        """Do nothing."""


class Hedging(Protocol):
    """Decides about backups; synchronous."""

    @property
    def at(self) -> float:
        """The share of the time for the first content after which a backup is considered."""

    def claim(self, model: str, primary: Session, now: float) -> HedgeTicket | HedgeVerdict:
        """Grant a backup beside `primary`, or say why not; a ticket must be given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayServices:
    """Collaborators and limits of the relay; built once at start."""

    registry: Registry
    settlement: Settlement
    funds: Funds = field(default_factory=FreeOfCharge)
    hedging: Hedging | None = None
    """None: no request gets a backup."""
    observer: RelayObserver = field(default_factory=SilentObserver)
    times: RelayTimes = field(default_factory=RelayTimes)
    limits: AttemptLimits = field(default_factory=AttemptLimits)
    bounds: QueueBounds = field(default_factory=QueueBounds)
    seal_inline_bytes: int = SEAL_INLINE_BYTES
    clock: Callable[[], float] = trio.current_time
