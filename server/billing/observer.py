"""What watches the money: counts for metrics. Synchronous, never raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from server.billing.settle import Settled

HoldOutcome: TypeAlias = Literal["held", "exempt", "spend_cap", "insufficient_funds", "provider_price", "unavailable"]
"""How the attempt to take or raise a hold ended; the closed set of its metric label."""


MoneyStep: TypeAlias = Literal["hold", "resize", "settle", "release"]
"""A transaction on behalf of one request; the closed set of its metric label."""


class BillingObserver(Protocol):
    """Counts what happens to money; amounts in micro-USD."""

    def hold_taken(self, outcome: HoldOutcome, amount: int) -> None:
        """A hold was asked for."""

    def hold_released(self, amount: int, reason: str) -> None:
        """A hold was closed without a charge."""

    def settled(self, result: Settled, *, discount: int) -> None:
        """A request was settled for the first time; `discount` is what cached tokens saved."""

    def zero_usage(self) -> None:
        """A provider delivered content but reported no completion tokens."""

    def deferred(self, depth: int) -> None:
        """The store was away: an operation waits in the queue, which has this depth now."""

    def lost(self, operation: str) -> None:
        """An operation was given up: the queue was full, or the store refused it for good. Its hold will expire."""

    def took(self, step: MoneyStep, seconds: float) -> None:
        """A transaction was committed, so long after it was asked for."""


class SilentBillingObserver:
    """Counts nothing."""

    def hold_taken(self, outcome: HoldOutcome, amount: int) -> None:
        """Do nothing."""

    def hold_released(self, amount: int, reason: str) -> None:
        """Do nothing."""

    def settled(self, result: Settled, *, discount: int) -> None:
        """Do nothing."""

    def zero_usage(self) -> None:
        """Do nothing."""

    def deferred(self, depth: int) -> None:
        """Do nothing."""

    def lost(self, operation: str) -> None:
        """Do nothing."""

    def took(self, step: MoneyStep, seconds: float) -> None:
        """Do nothing."""
