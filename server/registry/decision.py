"""What a routing decision returns: the reservation, or exactly why there is none."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from server.registry.reasons import CAPACITY, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.ledger import Reservation
    from server.registry.state import Session


class CostTerms(Struct, frozen=True, gc=False):
    """The terms of the cost in ms; the total is their sum and nothing else."""

    state: float = 0.0
    queue: float = 0.0
    pending: float = 0.0
    backlog: float = 0.0
    this_request: float = 0.0
    health: float = 0.0
    capacity_rate: float = 0.0
    cached: float = 0.0
    """What a cached beginning of the prompt takes off: zero or less."""

    @property
    def total(self) -> float:
        """Sum of all terms in ms."""
        return (
            self.state
            + self.queue
            + self.pending
            + self.backlog
            + self.this_request
            + self.health
            + self.capacity_rate
            + self.cached
        )


class Candidate(Struct, frozen=True):
    """One provider that passed every gate, with everything that choosing compares.

    `cost_us` is the sum of the terms in microseconds. `occupancy` counts requests of the model on it, `pending` its
    reservations of all models, `share` is the part of its places that is taken; `ttft_ms` is None when the provider
    gives no capacity report; rates are tokens/s.
    """

    session: Session
    terms: CostTerms
    cost_us: int
    occupancy: int
    pending: int
    share: float
    ttft_ms: float | None
    tps: float
    static_tps: float
    projected_tps: float
    owned: bool
    cached_tokens: int = 0
    """Tokens of the prompt that it is believed to hold, where it is chosen for that."""

    @property
    def cost(self) -> float:
        """The cost in ms."""
        return self.cost_us / 1000


class ChoicePath(Enum):
    """How the winner was found."""

    NONE = "none"
    UNIQUE_MIN = "unique_min"
    TIE_QUEUE = "tie_queue"
    TIE_PENDING = "tie_pending"
    RANDOM = "random"
    CACHED = "cached"
    """It holds the beginning of the prompt, which is worth more than what the others are better in."""
    QUEUE = "queue"
    """The place was offered to a waiter; nothing was compared."""


class Decision(Struct, frozen=True, kw_only=True):
    """One routing decision and its record for logs, metrics and traces.

    `reservation` is None when nothing could take the request; whoever receives one must release it. A decision that
    found a place does not count what else there was: `equal` is the number of providers that only chance decided
    between. One that found none, and a mere look, count everyone: candidates + sum of rejections = scanned, the
    providers that advertise the model. `fail_open` tells that only providers with an open health breaker were left and
    the breakers were ignored. `model` is the build that was looked for (the previous build of an alias after a switch).
    """

    request_id: str
    model: str
    reservation: Reservation | None = None
    winner: Candidate | None = None
    path: ChoicePath = ChoicePath.NONE
    equal: int = 0
    candidates: int = 0
    scanned: int = 0
    rejections: Mapping[Reason, int] = {}
    best_ttft_ms: float | None = None
    has_ttft: bool = False
    ttft_miss: bool = False
    fail_open: bool = False

    @property
    def session(self) -> Session | None:
        """The chosen session, if any."""
        return self.winner.session if self.winner is not None else None

    @property
    def capacity_rejections(self) -> int:
        """Providers that would do, had they room."""
        return sum(count for reason, count in self.rejections.items() if reason in CAPACITY)

    def rejected(self, reason: Reason) -> int:
        """Providers rejected under one reason."""
        return self.rejections.get(reason, 0)


class Dispatch(Struct, frozen=True):
    """Verdict: send it; `decision.reservation` is set."""

    decision: Decision


class Enqueue(Struct, frozen=True):
    """Verdict: nothing has room now, wait in the queue of `model`."""

    decision: Decision
    model: str


class Refusal(Struct, frozen=True, kw_only=True):
    """Verdict: answer the client.

    `retry_after_ms` is None where no `Retry-After` belongs; `retryable` False tells SDKs that a retry cannot help.
    """

    status: int
    error_type: str
    code: str
    reason: str
    message: str
    retry_after_ms: int | None = None
    retryable: bool | None = None
    param: str | None = None
    decision: Decision | None = None

    @property
    def retry_after_seconds(self) -> int | None:
        """Whole seconds for the `Retry-After` header, rounded up."""
        return None if self.retry_after_ms is None else -(-self.retry_after_ms // 1000)


Verdict: TypeAlias = Dispatch | Enqueue | Refusal
