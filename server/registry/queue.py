"""Waiting requests of each model: bounded, fair between accounts, assigned by a synchronous state change.

Invariant: a waiter is in its queue exactly while it is WAITING; ASSIGNED, FAILED and GONE are final.
Invariant: a waiter becomes ASSIGNED with its reservation already in the ledger, and only then is woken.
Owner: the registry; the waiting task only takes or abandons its own waiter.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING, Final

from server.registry.ledger import ReleaseCause, Reservation
from server.registry.reasons import Reason
from server.registry.request import SelfRoute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.registry.decision import Decision
    from server.registry.policy import RoutingPolicy
    from server.registry.request import RoutedRequest, Traits
    from server.registry.state import Session

    Place = Callable[[Session, RoutedRequest, bool, float], Reservation | Reason]

log = logging.getLogger(__name__)

FAIR_QUANTUM: Final = 2_048
"""Tokens an account is served per round of a model's queue."""
AGED_SHARE: Final = 0.5
"""A waiter that used this share of its wait goes first, so large prompts never starve."""
ACCOUNT_SHARE: Final = 4
ACCOUNT_MIN: Final = 2


class WaiterState(Enum):
    """Where a waiter is; only WAITING can still be assigned."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    FAILED = "failed"
    GONE = "gone"


class QueueFailure(Enum):
    """Why a request cannot wait, or waits in vain."""

    QUEUE_FULL = "queue_full"
    ACCOUNT_FULL = "account_full"
    TOO_LONG = "queue_too_long"
    """At its measured speed the queue would not reach the request in time."""
    TIMED_OUT = "queue_timeout"
    NO_PROVIDER = "no_provider"
    INCAPABLE = "model_unavailable"
    """The last provider that could serve a request of this kind went away; others that offer the model stay."""
    MODEL_REMOVED = "model_not_found"


class Waiter:
    """One queued request; `wake` is called once, synchronously, when it is assigned or failed."""

    __slots__ = (
        "decision",
        "enqueued_at",
        "expires_at",
        "failure",
        "request",
        "reservation",
        "round",
        "sequence",
        "state",
        "wake",
    )

    def __init__(
        self,
        request: RoutedRequest,
        *,
        decision: Decision,
        enqueued_at: float,
        expires_at: float,
        wake: Callable[[], None],
    ) -> None:
        self.request = request
        self.decision = decision
        self.enqueued_at = enqueued_at
        self.expires_at = expires_at
        self.wake = wake
        self.state = WaiterState.WAITING
        self.reservation: Reservation | None = None
        self.failure: QueueFailure | None = None
        self.round = 0
        self.sequence = 0

    def take(self) -> Reservation | None:
        """Hand the reservation to the waiting task, which must release it from now on; None unless assigned."""
        reservation, self.reservation = self.reservation, None
        return reservation

    def is_aged(self, now: float) -> bool:
        """Whether half of the wait is used up."""
        return now - self.enqueued_at > AGED_SHARE * (self.expires_at - self.enqueued_at)


class ModelQueue:
    """The waiters of one model with the fair-share accounting of their accounts."""

    __slots__ = ("_finish", "_sequence", "_virtual", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[int, Waiter] = {}
        self._sequence = 0
        self._virtual = 0
        self._finish: dict[str | None, int] = {}

    def __len__(self) -> int:
        return len(self.waiters)

    def push(self, waiter: Waiter) -> None:
        """Append a waiter; its round follows from what its account has queued already, in quanta of tokens."""
        account = waiter.request.account_id
        self._sequence += 1
        waiter.sequence = self._sequence
        finish = max(self._finish.get(account, 0), self._virtual) + max(1, waiter.request.need)
        self._finish[account] = finish
        waiter.round = -(-finish // FAIR_QUANTUM)
        self.waiters[waiter.sequence] = waiter

    def remove(self, waiter: Waiter, *, served: bool) -> None:
        """Take a waiter out; an account without waiters starts anew, like an emptied queue of a round robin."""
        del self.waiters[waiter.sequence]
        account = waiter.request.account_id
        if not self.of_account(account):
            self._finish.pop(account, None)
        if served:
            self._virtual = max(self._virtual, (waiter.round - 1) * FAIR_QUANTUM)

    def in_order(self, now: float) -> list[Waiter]:
        """Aged waiters first, then round by round, first come first served inside a round."""
        return sorted(
            self.waiters.values(),
            key=lambda one: (0, 0, one.sequence) if one.is_aged(now) else (1, one.round, one.sequence),
        )

    def of_account(self, account_id: str | None) -> int:
        """Waiters of one account."""
        return sum(1 for one in self.waiters.values() if one.request.account_id == account_id)

    def oldest(self) -> Waiter | None:
        """The waiter that came first."""
        return next(iter(self.waiters.values()), None)


class WaitingRoom:
    """All model queues with their bounds and the passes that assign freed capacity."""

    def __init__(self, policy: RoutingPolicy, place: Place) -> None:
        self._policy = policy
        self._place = place
        self._queues: dict[str, ModelQueue] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def depth(self, model: str) -> int:
        """Waiters of a model."""
        queue = self._queues.get(model)
        return len(queue) if queue is not None else 0

    def oldest_age(self, model: str, now: float) -> float:
        """Seconds that the oldest waiter of a model has waited, 0 without one."""
        queue = self._queues.get(model)
        oldest = queue.oldest() if queue is not None else None
        return now - oldest.enqueued_at if oldest is not None else 0.0

    def models(self) -> tuple[str, ...]:
        """Models with at least one waiter."""
        return tuple(self._queues)

    def waiting(self) -> Iterator[Waiter]:
        """All waiters."""
        for queue in self._queues.values():
            yield from queue.waiters.values()

    def refusal(self, request: RoutedRequest, now: float, releases_per_second: float | None) -> QueueFailure | None:
        """Say why the request may not be queued; sweeps expired waiters of its model first."""
        queue = self._queues.get(request.model)
        if queue is not None:
            self._sweep(queue, request.model, now)
        depth = self.depth(request.model)
        policy = self._policy
        if depth >= policy.queue_max_depth or self._total >= policy.queue_global_max:
            return QueueFailure.QUEUE_FULL
        if queue is not None and queue.of_account(request.account_id) >= max(
            ACCOUNT_MIN, policy.queue_max_depth // ACCOUNT_SHARE
        ):
            return QueueFailure.ACCOUNT_FULL
        if releases_per_second is not None and (depth + 1) / releases_per_second > self._limit(request, now) - now:
            return QueueFailure.TOO_LONG
        return None

    def _limit(self, request: RoutedRequest, now: float) -> float:
        limit = now + self._policy.queue_max_wait
        return limit if request.deadline is None else min(limit, request.deadline)

    def enqueue(
        self,
        request: RoutedRequest,
        *,
        decision: Decision,
        now: float,
        wake: Callable[[], None],
        releases_per_second: float | None = None,
    ) -> Waiter | QueueFailure:
        """Append the request to the queue of its model, or say why not."""
        refused = self.refusal(request, now, releases_per_second)
        if refused is not None:
            return refused
        waiter = Waiter(request, decision=decision, enqueued_at=now, expires_at=self._limit(request, now), wake=wake)
        queue = self._queues.get(request.model)
        if queue is None:
            queue = self._queues[request.model] = ModelQueue()
        queue.push(waiter)
        self._total += 1
        return waiter

    def abandon(self, waiter: Waiter) -> None:
        """End a waiter whose task stops waiting (timeout, cancellation, done); idempotent, call it in `finally`.

        A reservation that was assigned and not taken is released, which serves the next waiter at once.
        """
        if waiter.state is WaiterState.WAITING:
            self._leave(waiter, WaiterState.GONE)
        reservation = waiter.take()
        if reservation is not None and not reservation.released:
            waiter.state = WaiterState.GONE
            reservation.release(cause=ReleaseCause.QUEUE)

    def drain(self, session: Session, now: float) -> int:
        """Offer one provider's room to the waiters of its models, oldest queue first; returns how many got it.

        Each waiter is tried at most once and only against this provider. A waiter that does not fit is passed over and
        keeps its place; one that needs no less than another that just failed for lack of memory is not tried.
        """
        if not self._queues:
            return 0
        models, queues = session.caps.models, self._queues
        names = [model for model in models if model in queues] if len(models) < len(queues) else queues
        waiting = [queues[model] for model in names if model in models]
        waiting.sort(key=lambda queue: oldest.enqueued_at if (oldest := queue.oldest()) is not None else now)
        return sum(self._drain_model(session, queue, now) for queue in waiting)

    def _drain_model(self, session: Session, queue: ModelQueue, now: float) -> int:
        assigned = 0
        too_large: int | None = None
        for waiter in queue.in_order(now):
            need = waiter.request.need
            if waiter.expires_at <= now or (too_large is not None and need >= too_large):
                continue
            outcome = self._place(session, waiter.request, waiter.decision.fail_open, now)
            if isinstance(outcome, Reservation):
                self._assign(waiter, outcome)
                assigned += 1
            elif outcome in (Reason.NO_HEADROOM, Reason.OFFLINE, Reason.DRAINING):
                break  # says nothing of this request: no other one would fit either
            elif outcome is Reason.FREE_MEMORY:
                too_large = need
        return assigned

    def _assign(self, waiter: Waiter, reservation: Reservation) -> None:
        waiter.reservation = reservation
        self._leave(waiter, WaiterState.ASSIGNED)
        waiter.wake()

    def fail_model(self, model: str, failure: QueueFailure, *, sparing_owners: bool = False) -> int:
        """Fail every waiter of a model, for example because nobody offers it any more.

        `sparing_owners` keeps those who asked for their own machine first: it may come back.
        """
        queue = self._queues.get(model)
        waiters = list(queue.waiters.values()) if queue is not None else []
        if sparing_owners:
            waiters = [one for one in waiters if one.request.self_route is not SelfRoute.PREFER]
        for waiter in waiters:
            self._fail(waiter, failure)
        return len(waiters)

    def fail_incapable(self, model: str, is_served: Callable[[Traits], bool]) -> None:
        """Fail the waiters of a model whose kind of request nobody offers any more."""
        queue = self._queues.get(model)
        for waiter in list(queue.waiters.values()) if queue is not None else ():
            if not is_served(waiter.request.traits):
                self._fail(waiter, QueueFailure.INCAPABLE)

    def _sweep(self, queue: ModelQueue, model: str, now: float) -> None:
        """End waiters whose own timer should have fired; their task has not run yet."""
        for waiter in [one for one in queue.waiters.values() if one.expires_at <= now]:
            log.info("queue_entry_expired", extra={"model": model})
            self._fail(waiter, QueueFailure.TIMED_OUT)

    def _fail(self, waiter: Waiter, failure: QueueFailure) -> None:
        waiter.failure = failure
        self._leave(waiter, WaiterState.FAILED)
        waiter.wake()

    def _leave(self, waiter: Waiter, state: WaiterState) -> None:
        waiter.state = state
        model = waiter.request.model
        queue = self._queues[model]
        queue.remove(waiter, served=state is WaiterState.ASSIGNED)
        self._total -= 1
        if not queue.waiters:
            del self._queues[model]
