"""Finds a provider for a request: the first one, perhaps after a wait in the queue, then others after failures.

Invariant: between a decision and its reservation there is no checkpoint; whoever gets a reservation must release it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from msgspec import structs

from protocol.api.errors import ApiError
from server.observe.request_id import mint_uuid
from server.registry.decision import Dispatch, Enqueue, Refusal
from server.registry.ledger import Reservation
from server.registry.queue import QueueFailure
from server.registry.request import RoutedRequest, SelfRoute
from server.registry.views import owned_by
from server.registry.waiting import wait_in_queue
from server.relay.classify import FailureKind, classify
from server.relay.clocks import FirstContentClock
from server.relay.hedge import LEAST_REMAINING, HedgeVerdict, speculative_offset
from server.relay.history import RequestHistory
from server.relay.outcomes import OutcomeRecorder
from server.relay.timing import AttemptTiming

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from protocol.messages.from_provider import Usage
    from server.registry.request import PrefixKey
    from server.registry.state import Session
    from server.relay.hedge import HedgeTicket
    from server.relay.job import RelayJob
    from server.relay.racer import Racer
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


@dataclass(slots=True, eq=False)
class Backup:
    """A second machine for a request, reserved; `sent` once an attempt owns the reservation."""

    reservation: Reservation
    timing: AttemptTiming
    ticket: HedgeTicket
    sent: bool = False


class ProviderChoice:
    """The routing side of one request; keeps what was tried and tells the registry how it went."""

    def __init__(self, services: RelayServices, job: RelayJob) -> None:
        self._registry = services.registry
        self._observer = services.observer
        self._times = services.times
        self._now = services.clock
        self._job = job
        self._build = job.build
        self.history = RequestHistory(limits=services.limits)
        self.timing: AttemptTiming | None = None
        self.clock: FirstContentClock | None = None
        self.backup_at = math.inf
        """When the attempt in progress gets a backup, if it has no content by then."""
        self._outcomes = OutcomeRecorder(services.registry)
        self._allowance = services.times.allowance(job.prompt_tokens)
        self._hedging = services.hedging
        self._hedged = False
        self._prefixes: tuple[PrefixKey, ...] = ()

    @property
    def build(self) -> str:
        """The build in use: the alias's previous one after a switch."""
        return self._build

    async def first(self) -> Reservation | ApiError:
        """A reservation for the first attempt; waits in the queue when everything is full.

        Cancelled while it waits, the request leaves the queue and a reservation that came meanwhile goes on.
        """
        if self._job.prefixes is not None:
            self._prefixes = self._job.prefixes()
        request = self._request()
        started = self._now()
        self.timing = AttemptTiming(self._job.stamps, started)
        verdict = self._registry.decide(request, started)
        decided = self._now()
        self._registry.note_route_latency((decided - started) * 1000)
        match verdict:
            case Dispatch(decision):
                if decision.reservation is None:
                    raise AssertionError("A dispatch verdict comes with a reservation.")
                return self._use(decision.reservation, decided, queued_seconds=0.0)
            case Enqueue(decision):
                self._note_shortage(decided)
                outcome = await wait_in_queue(self._registry, request, decision)
                now = self._now()
                if isinstance(outcome, QueueFailure):
                    return refusal_error(self._registry.queue_refusal(request, outcome, decision, now))
                return self._use(outcome, now, queued_seconds=now - decided)
            case Refusal():
                if verdict.status == 429 and verdict.retryable is not False:
                    self._note_shortage(decided)
                return refusal_error(verdict)
            case _:
                assert_never(verdict)

    def failed(self, failure: AttemptFailure, racer: Racer) -> bool:
        """Note a failure before content; True when the request may be tried again."""
        session, now = racer.session, self._now()
        kind = self._classify(failure, session)
        if racer.attempt.channel_broken:
            # Its teardown waits for its own task: until then every other request would be sent there as well.
            self._registry.mark_offline(session.session_id)
        self._outcomes.failed(
            failure,
            kind,
            session,
            racer.build,
            self._job.traits.shape,
            request_id=racer.attempt.request_id,
            need=self._job.prompt_tokens + self._job.max_tokens,
            waited=now - racer.opened_at,
            allowance=self._allowance,
            now=now,
        )
        self.note_attempt(KIND_RESULTS[kind], session, failure.reason)
        return self.history.note(failure, kind, session_id=session.session_id, version=session.caps.version or None)

    def next(self) -> Reservation | None:
        """After a failure: a reservation at another provider, or None when there is none or no time is left.

        Retries never wait in the queue.
        """
        now = self._now()
        if self.clock is None or not self.clock.next_attempt(now):
            return None
        self.timing = AttemptTiming(self._job.stamps, now)
        decision = self._registry.choose_and_reserve(self._request(), now)
        if decision.reservation is None:
            return None
        return self._use(decision.reservation, self._now(), queued_seconds=0.0)

    def backup(self, racer: Racer) -> Backup | None:
        """A second machine beside one that is late with its first content; at most one for a request."""
        now = self._now()
        hedging, clock = self._hedging, self.clock
        if hedging is None or self._hedged or clock is None or clock.deadline - now < LEAST_REMAINING:
            return None
        own = owned_by(racer.session, self._job.account_id)
        if own and self._job.self_route is SelfRoute.PREFER:
            return None  # the caller asked for his own machine, and it works on the request
        ticket = hedging.claim(racer.build, racer.session, now)
        self._observer.hedge_decided(
            racer.build, HedgeVerdict.ALLOW if not isinstance(ticket, HedgeVerdict) else ticket
        )
        if isinstance(ticket, HedgeVerdict):
            return None
        timing = AttemptTiming(self._job.stamps, now)
        request = structs.replace(
            self._request(),
            previous_build=None,
            prefixes=(),
            excluded_sessions=frozenset((*self.history.excluded, racer.session.session_id)),
        )
        reservation = self._registry.choose_and_reserve(request, now).reservation
        if reservation is None or reservation.cold:
            # A machine that must load the model first cannot be faster than one that works already.
            if reservation is not None:
                reservation.release()
            ticket.done(won=None)
            return None
        self._hedged = True
        timing.selected(now, queued_seconds=0.0)
        self._outcomes.hedged(racer.build, racer.attempt.request_id, reservation.request_id, now)
        return Backup(reservation, timing, ticket)

    def hedge_ended(self, backup: Backup, *, won: bool | None) -> None:
        """Give the governor its ticket back; `won` is None when the backup decided nothing."""
        backup.ticket.done(won=won)
        if won is not None:
            self._observer.hedge_ended(backup.reservation.model, won=won)
        if won:
            self._outcomes.hedge_won(backup.reservation.model, self._now())

    def another(self, session_id: str) -> Reservation | None:
        """A reservation at another machine than this one, which was never dispatched to; no failure is counted."""
        self.history.excluded.add(session_id)
        now = self._now()
        self.timing = AttemptTiming(self._job.stamps, now)
        decision = self._registry.choose_and_reserve(self._request(), now)
        if decision.reservation is None:
            return None
        return self._use(decision.reservation, self._now(), queued_seconds=0.0)

    def final_error(self) -> ApiError:
        """The client's answer after the last failure."""
        now = self._now()
        return self.history.final_error(self._registry.retry_after_ms(self._build, now) / 1000)

    # --- what the registry learns -----------------------------------------------------------------------------------

    def note_content(self, racer: Racer) -> None:
        """First content: the provider had room."""
        attempt, now = racer.attempt, self._now()
        content_at = attempt.timing.content_at
        self._outcomes.content(
            racer.session,
            racer.build,
            attempt.request_id,
            waited=(content_at if content_at is not None else now) - racer.opened_at,
            allowance=self._allowance,
            cached_tokens=racer.cached_tokens,
            now=now,
        )

    def note_success(self, racer: Racer, completion_tokens: int) -> None:
        """A complete answer proves the pair."""
        self._outcomes.success(
            racer.session,
            racer.build,
            self._job.traits.shape,
            account_id=self._job.account_id,
            completion_tokens=completion_tokens,
            now=self._now(),
        )
        self.note_attempt("success", racer.session)

    def note_cache(self, racer: Racer, usage: Usage) -> None:
        """The machine said what it had of the prompt before; it keeps what it computed."""
        if not self._prefixes:
            return
        hit = self._outcomes.cached(
            racer.session, racer.build, self._prefixes, usage, expected=racer.cached_tokens, now=self._now()
        )
        if racer.cached_tokens:
            self._observer.cache_answered(racer.build, hit=hit)

    def note_broken(self, failure: AttemptFailure, racer: Racer) -> None:
        """A stream broke after content."""
        self._outcomes.broken(failure, racer.session, racer.build, self._job.traits.shape, self._now())
        self.note_attempt("broken", racer.session, failure.reason)

    def note_attempt(self, result: AttemptResult, session: Session, reason: str = "") -> None:
        """Log and count how one attempt ended; `reason` is of the closed vocabulary of failures."""
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
                "reason": reason,
            },
        )

    # --- inside -----------------------------------------------------------------------------------------------------

    def _use(self, reservation: Reservation, now: float, *, queued_seconds: float) -> Reservation:
        self._build = reservation.model
        if self.timing is not None:
            self.timing.selected(now, queued_seconds=queued_seconds)
        if self.clock is None:
            allowance = self._registry.first_content.extended(reservation.model, self._allowance)
            prompt = self._job.prompt_tokens
            self.clock = FirstContentClock(self._times, prompt_tokens=prompt, now=now, allowance=allowance)
        q90 = self._outcomes.reserved(reservation, now)
        self.backup_at = math.inf
        if self._hedging is not None and not self._hedged:
            # What nine of ten dispatches like this one take is what a backup would need too.
            self.backup_at = now + speculative_offset(self.clock.deadline - now, at=self._hedging.at, q90=q90)
        return reservation

    def _note_shortage(self, now: float) -> None:
        """Only what the public fleet lacks can be mended by warming machines."""
        if self._job.self_route is not SelfRoute.EXCLUSIVE:
            self._outcomes.refused(self._build, now)

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
            prefixes=self._prefixes,
            explain=job.wants_metadata,
        )

    def _classify(self, failure: AttemptFailure, session: Session) -> FailureKind:
        budget = session.slot(self._build).budget
        window = self._registry.catalog.context_window(self._build)
        job = self._job
        # How many tokens an image makes is not bounded by its bytes.
        bound = None if job.traits.requires_vision else job.prompt_bound + job.max_tokens
        return classify(
            failure,
            provider_budget=budget.max if budget is not None else None,
            context_window=window if window > 0 else None,
            request_bound=bound,
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
