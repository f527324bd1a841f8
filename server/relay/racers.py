"""The attempts of one request that are open before its first content: opened, told of events, and decided between.

Invariant: at most one of them commits, and the step in which it does ends the others.
Owner: the request's task in the relay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.relay.attempt import Attempt
from server.relay.attempt_state import Effect, Event
from server.relay.chat_sink import AnswerSink, StreamSink, stream_sink
from server.relay.provider_headers import provider_details
from server.relay.racer import Racer

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.ledger import Reservation
    from server.relay.clocks import ContentClock
    from server.relay.dispatch import Wakeup
    from server.relay.job import RelayJob
    from server.relay.outlet import Outlet
    from server.relay.services import RelayServices
    from server.relay.timing import AttemptTiming


class Racers:
    """The open attempts; `chosen` is the one that counts: the winner, else the last one that failed."""

    def __init__(
        self,
        services: RelayServices,
        job: RelayJob,
        *,
        outlet: Outlet,
        woken: Wakeup,
        owner_alive: Callable[[], bool],
    ) -> None:
        self._registry = services.registry
        self._now = services.clock
        self._job = job
        self._outlet = outlet
        self._woken = woken
        self._owner_alive = owner_alive
        self.open: list[Racer] = []
        """Attempts that are open, or over and not yet noted."""
        self.chosen: Racer | None = None
        self.gone = False
        """The consumer left."""
        self.tries = 0

    def enter(
        self,
        reservation: Reservation,
        clock: ContentClock,
        timing: AttemptTiming | None,
        choose: Callable[[], None] | None = None,
    ) -> Racer:
        """Open an attempt, which owns the reservation from then on."""
        session = self._registry.session(reservation.session_id)
        if session is None or timing is None:
            reservation.release()
            raise AssertionError("A fresh reservation has a live session and a timing record.")
        self.tries += 1
        attempt = Attempt(
            request_id=reservation.request_id,
            channel=session.channel,
            hold=reservation,
            sink=self._new_sink(reservation.request_id, reservation.model),
            clock=clock,
            timing=timing,
            wake=self._woken,
            on_commit=self._committed,
        )
        reservation.bind_owner(self._owner_alive)
        details = provider_details(session)
        cached = reservation.cached_tokens
        racer = Racer(attempt, session, reservation.model, clock, self._now(), details, choose, cached)
        self.open.append(racer)
        if self.chosen is None or not self.chosen.attempt.is_pending():
            self.chosen = racer
        if self.gone:
            attempt.apply(Event.CONSUMER_GONE)
        return racer

    def leave(self) -> None:
        """The consumer is gone."""
        self.gone = True
        self.end(Event.CONSUMER_GONE)

    def end(self, event: Event) -> None:
        """Tell all open attempts."""
        for one in tuple(self.open):
            one.attempt.apply(event)

    @property
    def winner(self) -> Racer | None:
        """The attempt with content."""
        return self.chosen if self.chosen is not None and self.chosen.attempt.committed else None

    def take_failed(self) -> list[Racer]:
        """Hand out the attempts that failed; what lost, or was left by the consumer, did not fail."""
        failed: list[Racer] = []
        for one in tuple(self.open):
            attempt = one.attempt
            if attempt.is_pending() or attempt.committed or attempt.terminal is Effect.LOSE or self.gone:
                continue
            self.open.remove(one)
            if attempt.terminal is Effect.RETRY:
                failed.append(one)
                self.chosen = one
        return failed

    def take_losers(self) -> list[Racer]:
        """End whoever still runs without having won, and hand out those that lost."""
        if not self.gone:
            for one in tuple(self.open):
                if one is not self.winner:
                    one.attempt.apply(Event.LOST)
        losers = [one for one in self.open if one.attempt.terminal is Effect.LOSE]
        self.open = [one for one in self.open if one not in losers]
        return losers

    def _committed(self, attempt: Attempt) -> None:
        """Content decides a race in the very step in which it arrives: nobody else can commit any more."""
        for one in tuple(self.open):
            if one.attempt is attempt:
                self.chosen = one
            else:
                one.attempt.apply(Event.LOST)

    def _new_sink(self, job_id: str, build: str) -> StreamSink | AnswerSink:
        job = self._job
        if job.stream:
            return stream_sink(job.new_stream(job_id, build), self._outlet)
        return AnswerSink(job.new_answer(job_id, build))
