"""What routing decided for the last requests, what it expected, and what happened: for operators and curious callers.

Invariant: at most `KEPT` requests with `ATTEMPTS_MAX` attempts each; nothing of a prompt or an answer is in them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry.decision import ChoicePath, CostTerms
from server.registry.reasons import Reason

if TYPE_CHECKING:
    from server.registry.decision import Decision
    from server.registry.ledger import Reservation
    from server.registry.request import RoutedRequest

KEPT: Final = 4_096
ATTEMPTS_MAX: Final = 16


class Rival(Struct, frozen=True, kw_only=True):
    """One of the cheapest candidates when the choice was made."""

    provider_id: str
    cost_ms: float
    occupancy: int
    pending: int
    estimated_ttft_ms: float | None


class Attempt(Struct):
    """One decision. Where it found a machine: how, at what cost, what was expected, and how it went.

    `equal` is the number of machines that only chance decided between, 0 where they were not counted. `rejections`
    counts machines by the first gate against the request, where that was counted; `rivals` are the first candidates of
    a request that asked for an explanation. Times in ms; `held_ms` is how long the place was taken.
    """

    attempt: int
    model: str
    provider_id: str | None = None
    path: ChoicePath = ChoicePath.NONE
    equal: int = 0
    fail_open: bool = False
    cost: CostTerms | None = None
    cost_ms: float | None = None
    decode_tps: float | None = None
    expected_ttft_ms: float | None = None
    actual_ttft_ms: float | None = None
    held_ms: float | None = None
    ended_as: str | None = None
    rejections: dict[Reason, int] = {}
    rivals: tuple[Rival, ...] = ()


class RoutingTraces:
    """The traces of the last requests, by the id of the client's request."""

    def __init__(self) -> None:
        self._traces: OrderedDict[str, list[Attempt]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._traces)

    def of(self, logical_id: str) -> tuple[Attempt, ...]:
        """Return the attempts of a request in their order; empty when nothing is known of it any more."""
        return tuple(self._traces.get(logical_id, ()))

    def decided(self, request: RoutedRequest, decision: Decision, rivals: tuple[Rival, ...] = ()) -> None:
        """Note a decision."""
        attempts = self._traces.get(request.logical_id)
        if attempts is None:
            if len(self._traces) >= KEPT:
                self._traces.popitem(last=False)
            attempts = self._traces[request.logical_id] = []
        elif len(attempts) >= ATTEMPTS_MAX:
            return
        winner = decision.winner
        if winner is None:
            found = dict(decision.rejections)
            attempts.append(Attempt(request.attempt, decision.model, rejections=found, rivals=rivals))
            return
        # By position: this is on the way of every request.
        note = Attempt(
            request.attempt,
            decision.model,
            winner.session.ident.session_id,
            decision.path,
            decision.equal,
            decision.fail_open,
            winner.terms,
            winner.cost_us / 1000,
            winner.tps,
            winner.ttft_ms,
        )
        if rivals:
            note.rivals = rivals
        attempts.append(note)

    def placed(self, reservation: Reservation) -> None:
        """Note a place that a waiter of the queue was given."""
        attempts = self._traces.get(reservation.logical_id)
        if attempts is not None and len(attempts) < ATTEMPTS_MAX:
            attempts.append(Attempt(reservation.attempt, reservation.model, reservation.session_id, ChoicePath.QUEUE))

    def content(self, reservation: Reservation, now: float) -> None:
        """Note the first content of an attempt."""
        found = self._find(reservation)
        if found is not None and found.actual_ttft_ms is None:
            found.actual_ttft_ms = round(1000 * (now - reservation.reserved_at), 3)

    def ended(self, reservation: Reservation, reached: str, now: float) -> None:
        """Note that an attempt gave its place back, and how far it had come."""
        found = self._find(reservation)
        if found is not None:
            found.held_ms = round(1000 * (now - reservation.reserved_at), 3)
            found.ended_as = reached

    def _find(self, reservation: Reservation) -> Attempt | None:
        for one in reversed(self._traces.get(reservation.logical_id, ())):
            if one.provider_id == reservation.session_id and one.ended_as is None:
                return one
        return None
