"""Finds a provider for a request: the first one, perhaps after a wait in the queue, then others after failures.

Invariant: between a decision and its reservation there is no checkpoint; whoever gets a reservation must release it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, assert_never

import trio

from protocol.api.errors import ApiError
from server.observe.request_id import mint_uuid
from server.registry.decision import Dispatch, Enqueue, Refusal
from server.registry.ledger import Reservation
from server.registry.queue import QueueFailure
from server.registry.request import RoutedRequest
from server.registry.waiting import wait_in_queue
from server.relay.classify import FailureKind, classify
from server.relay.clocks import FirstContentClock
from server.relay.history import RequestHistory
from server.relay.timing import AttemptTiming

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from server.registry.state import Session
    from server.relay.job import RelayJob
    from server.relay.services import AttemptResult, RelayServices

log = logging.getLogger("darkbloom.relay")

KIND_RESULTS: Final[dict[FailureKind, AttemptResult]] = {
    FailureKind.CLIENT: "client",
    FailureKind.TEMPLATE: "template",
    FailureKind.UNSERVABLE: "unservable",
    FailureKind.CAPACITY: "capacity",
    FailureKind.DRAINING: "draining",
    FailureKind.TIMEOUT: "timeout",
    FailureKind.NONCOMPLIANT: "noncompliant",
    FailureKind.NEUTRAL: "neutral",
    FailureKind.FAULT: "fault",
}


class ProviderChoice:
    """The routing side of one request; keeps what was tried and tells the registry how it went."""

    def __init__(self, services: RelayServices, job: RelayJob) -> None:
        self._registry = services.registry
        self._observer = services.observer
        self._times = services.times
        self._job = job
        self._build = job.build
        self.history = RequestHistory(limits=services.limits)
        self.timing: AttemptTiming | None = None
        self.clock: FirstContentClock | None = None

    @property
    def build(self) -> str:
        """The build in use: the alias's previous one after a switch."""
        return self._build

    async def first(self) -> Reservation | ApiError:
        """A reservation for the first attempt; waits in the queue when everything is full.

        Cancelled while it waits, the request leaves the queue and a reservation that came meanwhile goes on.
        """
        request = self._request()
        started = trio.current_time()
        self.timing = AttemptTiming(self._job.stamps, started)
        verdict = self._registry.decide(request, started)
        decided = trio.current_time()
        self._registry.note_route_latency((decided - started) * 1000)
        match verdict:
            case Dispatch(decision):
                if decision.reservation is None:
                    raise AssertionError("A dispatch verdict comes with a reservation.")
                return self._use(decision.reservation, queued_seconds=0.0)
            case Enqueue(decision):
                outcome = await wait_in_queue(self._registry, request, decision)
                now = trio.current_time()
                if isinstance(outcome, QueueFailure):
                    return refusal_error(self._registry.queue_refusal(request, outcome, decision, now))
                return self._use(outcome, queued_seconds=now - decided)
            case Refusal():
                return refusal_error(verdict)
            case _:
                assert_never(verdict)

    def next(self, failure: AttemptFailure, session: Session) -> Reservation | None:
        """After a failure before content: a reservation at another provider, or None when the request is over.

        Retries never wait in the queue.
        """
        now = trio.current_time()
        kind = self._classify(failure, session)
        self.note_failure(failure, kind, session)
        again = self.history.note(failure, kind, session_id=session.session_id, version=session.caps.version or None)
        if not again or self.clock is None or not self.clock.next_attempt(now):
            return None
        self.timing = AttemptTiming(self._job.stamps, now)
        decision = self._registry.choose_and_reserve(self._request(), now)
        if decision.reservation is None:
            return None
        return self._use(decision.reservation, queued_seconds=0.0)

    def another(self, session_id: str) -> Reservation | None:
        """A reservation at another machine than this one, which was never dispatched to; no failure is counted."""
        self.history.excluded.add(session_id)
        now = trio.current_time()
        self.timing = AttemptTiming(self._job.stamps, now)
        decision = self._registry.choose_and_reserve(self._request(), now)
        return None if decision.reservation is None else self._use(decision.reservation, queued_seconds=0.0)

    def final_error(self) -> ApiError:
        """The client's answer after the last failure."""
        now = trio.current_time()
        return self.history.final_error(self._registry.retry_after_ms(self._build, now) / 1000)

    # --- what the registry learns -----------------------------------------------------------------------------------

    def note_content(self, session: Session) -> None:
        """First content: the provider had room."""
        self._registry.faults.accepted(session.ident.stable_id, self._build, trio.current_time())

    def note_success(self, session: Session) -> None:
        """A complete answer proves the pair."""
        shape = self._job.traits.shape
        self._registry.faults.success(session.ident.stable_id, self._build, shape, trio.current_time())

    def note_failure(self, failure: AttemptFailure, kind: FailureKind, session: Session) -> None:
        """Strikes, load cooldowns, capacity signals and drains, by the failure's health class."""
        now = trio.current_time()
        faults, stable_id = self._registry.faults, session.ident.stable_id
        if kind is FailureKind.DRAINING:
            self._registry.mark_draining(session.session_id, now)
        elif failure.health == "capacity":
            faults.capacity_rejected(stable_id, self._build, now)
        elif failure.health == "fault":
            faults.error(stable_id, self._build, self._job.traits.shape, failure.status, now)
        if failure.starts_load_cooldown:
            faults.load_failed(stable_id, self._build, now)
        self.note_attempt(KIND_RESULTS[kind], session)

    def note_broken(self, failure: AttemptFailure, session: Session) -> None:
        """A stream broke after content."""
        if failure.health == "fault":
            shape = self._job.traits.shape
            now = trio.current_time()
            self._registry.faults.error(session.ident.stable_id, self._build, shape, failure.status, now)
        self.note_attempt("broken", session)

    def note_attempt(self, result: AttemptResult, session: Session) -> None:
        """Log and count how one attempt ended."""
        self._observer.attempt_ended(self._build, result)
        if not log.isEnabledFor(logging.INFO):
            return
        log.info(
            "attempt_ended",
            extra={
                "coord_request_id": self._job.coord_request_id,
                "attempt": self.history.attempts,
                "model": self._build,
                "provider_id": session.session_id,
                "result": result,
            },
        )

    # --- inside -----------------------------------------------------------------------------------------------------

    def _use(self, reservation: Reservation, *, queued_seconds: float) -> Reservation:
        now = trio.current_time()
        self._build = reservation.model
        if self.timing is not None:
            self.timing.selected(now, queued_seconds=queued_seconds)
        if self.clock is None:
            self.clock = FirstContentClock(self._times, prompt_tokens=self._job.prompt_tokens, now=now)
        return reservation

    def _request(self) -> RoutedRequest:
        job, history = self._job, self.history
        return RoutedRequest(
            request_id=mint_uuid(),
            logical_id=job.coord_request_id,
            model=self._build,
            public_model=job.public_model,
            previous_build=job.previous_build if history.attempts == 0 else None,
            prompt_tokens=job.prompt_tokens,
            max_tokens=job.max_tokens,
            account_id=job.account_id,
            key_id=job.key_id,
            traits=job.traits,
            self_route=job.self_route,
            has_linked_machine=job.has_linked_machine,
            excluded_sessions=frozenset(history.excluded),
            avoid_version=history.avoid_version,
            attempt=history.attempts + 1,
        )

    def _classify(self, failure: AttemptFailure, session: Session) -> FailureKind:
        budget = session.slot(self._build).budget
        window = self._registry.catalog.context_window(self._build)
        return classify(
            failure,
            provider_budget=budget.max if budget is not None else None,
            context_window=window if window > 0 else None,
        )


def refusal_error(refusal: Refusal) -> ApiError:
    """The router's refusal in the public error shape."""
    return ApiError(
        refusal.status,
        refusal.error_type,
        refusal.message,
        code=refusal.code,
        param=refusal.param,
        retry_after_seconds=None if refusal.retry_after_ms is None else refusal.retry_after_ms / 1000,
        reason=refusal.reason,
        retryable=refusal.retryable,
    )
