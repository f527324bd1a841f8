"""One HTTP request inside the simulated coordinator: decide, perhaps wait, attempt, fail over, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

from msgspec import Struct, structs

from server.registry.decision import Dispatch, Enqueue, Refusal
from server.registry.queue import QueueFailure, Waiter
from server.registry.request import PLAIN, RoutedRequest, Traits
from server.relay.attempt_state import Effect, Event
from server.relay.classify import STOPS, FailureKind, classify
from server.relay.clocks import FirstContentClock
from server.relay.hedge import LEAST_REMAINING, HedgeVerdict, speculative_offset
from server.relay.history import RequestHistory
from server.sim.attempt import SimAttempt
from server.sim.prefixes import prefix_keys, usage_of
from server.sim.work import Work

if TYPE_CHECKING:
    from protocol.failure import AttemptFailure
    from server.registry.decision import Decision
    from server.registry.ledger import Reservation
    from server.relay.clocks import ContentClock
    from server.relay.hedge import HedgeTicket
    from server.sim.coordinator import Coordinator
    from server.sim.kernel import Timer
    from server.sim.trace import Arrival

TOOLS = Traits(has_tools=True)


class Asker(Protocol):
    """The client behind a request."""

    def on_content(self) -> None:
        """The first content arrived."""

    def on_done(self, tokens: int) -> None:
        """The answer is complete."""

    def on_broken(self) -> None:
        """The answer broke off after content."""

    def on_refused(self, status: int, reason: str, retry_after_ms: int | None) -> None:
        """There is no answer; `retry_after_ms` is what the client is told to wait."""


class Ask(Struct, frozen=True, kw_only=True):
    """What a client sends, and who it is."""

    job: int
    arrival: Arrival
    asker: Asker


class Call:
    """The routing side of one request, in the order in which the relay's task does it."""

    def __init__(self, coordinator: Coordinator, ask: Ask, number: int) -> None:
        self.ask = ask
        self.number = number
        self.tokens = 0
        self.queued_seconds = 0.0
        self._coordinator = coordinator
        self._kernel = coordinator.kernel
        self._history = RequestHistory(limits=coordinator.limits)
        self._clock: FirstContentClock | None = None
        self._waiter: Waiter | None = None
        self._waiter_timer: Timer | None = None
        self._waiting_since = 0.0
        self._decision: Decision | None = None
        self._allowance = coordinator.times.allowance(ask.arrival.prompt)
        self._predicted_ttft_ms: float | None = None
        self._racers: list[SimAttempt] = []
        self._hedged = False
        self._ticket: HedgeTicket | None = None
        self._backup_timer: Timer | None = None
        self._traits = TOOLS if ask.arrival.tools else PLAIN
        self._prefixes = prefix_keys(ask.arrival) if coordinator.registry.policy.cache_routing else ()
        self._over = False

    # The way in

    def start(self) -> None:
        """Route the request; it may be refused, wait, or be on its way when this returns."""
        registry, now = self._coordinator.registry, self._kernel.now
        request = self._request()
        with self._coordinator.tally.timed_decision():
            verdict = registry.decide(request, now)
        match verdict:
            case Dispatch(decision):
                if decision.reservation is None:
                    raise AssertionError("A dispatch verdict comes with a reservation.")
                self._dispatch(decision.reservation, decision)
            case Enqueue(decision):
                self._wait(request, decision)
            case Refusal():
                if verdict.status == 429 and verdict.retryable is not False:
                    self._coordinator.outcomes.refused(request.model, now)
                self._refuse(verdict)
            case _:
                assert_never(verdict)

    def leave(self) -> None:
        """The client goes away."""
        if self._over:
            return
        self._over = True
        for attempt in tuple(self._racers):
            attempt.apply(Event.CONSUMER_GONE)
        self._end_race(won=None)
        self._end_wait()

    # The queue

    def _wait(self, request: RoutedRequest, decision: Decision) -> None:
        registry, now = self._coordinator.registry, self._kernel.now
        self._decision = decision
        self._waiting_since = now
        self._coordinator.outcomes.refused(request.model, now)
        waiter = registry.enqueue(request, decision, now=now, wake=self._wake)
        if isinstance(waiter, QueueFailure):
            self._refuse(registry.queue_refusal(request, waiter, decision, now))
            return
        self._coordinator.journal.note("queued", self.number)
        self._waiter = waiter
        self._waiter_timer = self._kernel.at(waiter.expires_at, self._expired)

    def _wake(self) -> None:
        """The queue has news; as a task would, look at it after what happens now."""
        self._kernel.after(0.0, self._woken)

    def _expired(self) -> None:
        self._woken(expired=True)

    def _woken(self, *, expired: bool = False) -> None:
        waiter, decision = self._waiter, self._decision
        if waiter is None or decision is None or self._over:
            return
        reservation = waiter.take()
        if reservation is None and not expired and waiter.failure is None:
            return
        registry, now = self._coordinator.registry, self._kernel.now
        failure = waiter.failure or QueueFailure.TIMED_OUT
        self._end_wait()
        self.queued_seconds = now - self._waiting_since
        self._coordinator.tally.waited(self.queued_seconds, served=reservation is not None)
        if reservation is None:
            self._refuse(registry.queue_refusal(self._request(), failure, decision, now))
            return
        if reservation.released:
            # The machine went away between the assignment and now: look again, as the waiting task does.
            again = registry.choose_and_reserve(self._request(), now)
            if again.reservation is None:
                self._refuse(registry.queue_refusal(self._request(), QueueFailure.TIMED_OUT, again, now))
                return
            reservation, decision = again.reservation, again
        self._dispatch(reservation, None)

    def _end_wait(self) -> None:
        waiter, self._waiter = self._waiter, None
        if self._waiter_timer is not None:
            self._waiter_timer.cancel()
        if waiter is not None:
            self._coordinator.registry.abandon(waiter)

    # Attempts

    def _dispatch(self, reservation: Reservation, decision: Decision | None) -> None:
        coordinator, now = self._coordinator, self._kernel.now
        if self._clock is None:
            allowance = coordinator.registry.first_content.extended(reservation.model, self._allowance)
            self._clock = FirstContentClock(
                coordinator.times, prompt_tokens=self.ask.arrival.prompt, now=now, allowance=allowance
            )
        coordinator.outcomes.reserved(reservation, now)
        winner = decision.winner if decision is not None else None
        self._predicted_ttft_ms = winner.ttft_ms if winner is not None else None
        self._open(reservation, self._clock, is_backup=False)
        self._plan_backup()

    def _open(self, reservation: Reservation, clock: ContentClock, *, is_backup: bool) -> None:
        coordinator = self._coordinator
        session = coordinator.registry.session(reservation.session_id)
        if session is None:
            raise AssertionError("A fresh reservation has a live session.")
        reservation.bind_owner(lambda: not self._over)
        attempt = SimAttempt(coordinator, self, reservation, session, clock, is_backup=is_backup)
        self._racers.append(attempt)
        coordinator.tally.attempts += 1
        coordinator.journal.note("backup" if is_backup else "attempt", self.number, reservation.session_id)
        attempt.send()

    def work(self, attempt: SimAttempt) -> Work:
        """What the machine is sent."""
        arrival = self.ask.arrival
        return Work(
            request_id=attempt.request_id,
            model=attempt.reservation.model,
            prompt=arrival.prompt,
            max_tokens=arrival.max_tokens,
            out=arrival.answer_tokens,
            events=attempt,
            prefix=None if arrival.prefix is None else f"{arrival.account}:{arrival.prefix}",
            prefix_tokens=arrival.prefix_tokens,
        )

    # What attempts tell

    def committed(self, attempt: SimAttempt) -> None:
        """First content: this attempt is chosen, and a rival has lost."""
        coordinator, now = self._coordinator, self._kernel.now
        for rival in tuple(self._racers):
            if rival is not attempt:
                rival.lose()
        self._end_race(won=attempt.is_backup)
        coordinator.outcomes.content(
            attempt.session,
            attempt.reservation.model,
            attempt.request_id,
            waited=now - attempt.started_at,
            allowance=self._allowance,
            cached_tokens=attempt.reservation.cached_tokens,
            now=now,
        )
        coordinator.journal.note("content", self.number, attempt.session_id)
        if self._predicted_ttft_ms is not None and not self._history.attempts and not self._hedged:
            coordinator.tally.predicted(self._predicted_ttft_ms, 1000 * (now - attempt.started_at))
        self.ask.asker.on_content()

    def ended(self, attempt: SimAttempt, terminal: Effect) -> None:
        """An attempt is over."""
        coordinator, now = self._coordinator, self._kernel.now
        self._racers.remove(attempt)
        model, shape = attempt.reservation.model, self._traits.shape
        match terminal:
            case Effect.FINISH:
                coordinator.outcomes.success(
                    attempt.session,
                    model,
                    shape,
                    account_id=self.ask.arrival.account,
                    completion_tokens=self.tokens,
                    now=now,
                )
                self._note_cache(attempt, now)
                self._over = True
                coordinator.journal.note("done", self.number, self.tokens)
                self.ask.asker.on_done(self.tokens)
            case Effect.RETRY:
                self._failed(attempt)
            case Effect.BREAK:
                if attempt.failure is not None:
                    coordinator.outcomes.broken(attempt.failure, attempt.session, model, shape, now)
                self._over = True
                coordinator.journal.note("broken", self.number)
                self.ask.asker.on_broken()
            case _:
                pass  # it lost against its rival, or nobody waits any more

    def _note_cache(self, attempt: SimAttempt, now: float) -> None:
        if not self._prefixes or attempt.work is None:
            return
        coordinator, expected = self._coordinator, attempt.reservation.cached_tokens
        hit = coordinator.outcomes.cached(
            attempt.session,
            attempt.reservation.model,
            self._prefixes,
            usage_of(attempt.work),
            expected=expected,
            now=now,
        )
        if expected:
            coordinator.tally.cache_answered(hit=hit)

    def _failed(self, attempt: SimAttempt) -> None:
        """Note the failure; when no rival is left, try another machine or give up."""
        coordinator, now, failure = self._coordinator, self._kernel.now, attempt.failure
        if failure is None:
            raise AssertionError("A failed attempt says why.")
        kind = self._classified(attempt, failure)
        model = attempt.reservation.model
        coordinator.outcomes.failed(
            failure,
            kind,
            attempt.session,
            model,
            self._traits.shape,
            request_id=attempt.request_id,
            need=self.ask.arrival.prompt + self.ask.arrival.max_tokens,
            waited=now - attempt.started_at,
            allowance=self._allowance,
            now=now,
        )
        coordinator.tally.failed(kind.value)
        coordinator.journal.note("failed", self.number, attempt.session_id, kind.value)
        version = attempt.session.caps.version or None
        again = self._history.note(failure, kind, session_id=attempt.session_id, version=version)
        if self._over:
            return
        if kind in STOPS:
            for rival in tuple(self._racers):
                rival.lose()
        if self._racers:
            return
        self._end_race(won=False)
        if again and self._retry(now):
            return
        wait = coordinator.registry.retry_after_ms(self.ask.arrival.model, now)
        error = self._history.final_error(wait / 1000)
        after = error.retry_after_seconds
        self._refused(error.status, error.reason or error.error_type, None if after is None else round(1000 * after))

    def _retry(self, now: float) -> bool:
        if self._clock is None or not self._clock.next_attempt(now):
            return False
        with self._coordinator.tally.timed_decision():
            decision = self._coordinator.registry.choose_and_reserve(self._request(), now)
        if decision.reservation is None:
            return False
        self._dispatch(decision.reservation, decision)
        return True

    def _classified(self, attempt: SimAttempt, failure: AttemptFailure) -> FailureKind:
        model = attempt.reservation.model
        budget = attempt.session.slot(model).budget
        window = self._coordinator.registry.catalog.context_window(model)
        return classify(
            failure,
            provider_budget=budget.max if budget is not None else None,
            context_window=window if window > 0 else None,
        )

    # The backup

    def _plan_backup(self) -> None:
        hedging, clock, now = self._coordinator.hedging, self._clock, self._kernel.now
        if hedging is None or clock is None or self._hedged:
            return
        if self._backup_timer is not None:
            self._backup_timer.cancel()
        offset = speculative_offset(clock.deadline - now, at=hedging.at)
        self._backup_timer = self._kernel.after(offset, self._hedge)

    def _hedge(self) -> None:
        """Send a second attempt beside one that is late, where the governor lets it."""
        hedging, clock, now = self._coordinator.hedging, self._clock, self._kernel.now
        if hedging is None or clock is None or len(self._racers) != 1 or not self._racers[0].pending:
            return
        primary, tally = self._racers[0], self._coordinator.tally
        if clock.deadline - now < LEAST_REMAINING:
            return
        ticket = hedging.claim(primary.reservation.model, primary.session, now)
        if isinstance(ticket, HedgeVerdict):
            tally.hedge_verdicts[ticket.value] += 1
            return
        tally.hedge_verdicts[HedgeVerdict.ALLOW.value] += 1
        excluded = frozenset((*self._history.excluded, primary.session_id))
        request = structs.replace(
            self._request(),
            request_id=f"c{self.number}.b",
            previous_build=None,
            prefixes=(),
            excluded_sessions=excluded,
        )
        reservation = self._coordinator.registry.choose_and_reserve(request, now).reservation
        if reservation is None or reservation.cold:
            if reservation is not None:
                reservation.release(now)
            ticket.done(won=None)
            return
        self._hedged, self._ticket = True, ticket
        tally.hedges += 1
        self._coordinator.outcomes.hedged(primary.reservation.model, primary.request_id, reservation.request_id, now)
        self._open(reservation, clock.backup(), is_backup=True)

    def _end_race(self, *, won: bool | None) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.done(won=won)
            if won:
                self._coordinator.tally.hedges_won += 1
                self._coordinator.outcomes.hedge_won(self.ask.arrival.model, self._kernel.now)
        if self._backup_timer is not None:
            self._backup_timer.cancel()

    # The way out

    def _refuse(self, refusal: Refusal) -> None:
        self._refused(refusal.status, refusal.reason, refusal.retry_after_ms)

    def _refused(self, status: int, reason: str, retry_after_ms: int | None) -> None:
        self._over = True
        self._coordinator.journal.note("refused", self.number, status, reason, retry_after_ms)
        self.ask.asker.on_refused(status, reason, retry_after_ms)

    def _request(self) -> RoutedRequest:
        arrival, history = self.ask.arrival, self._history
        return RoutedRequest(
            request_id=f"c{self.number}.{history.attempts + 1}",
            logical_id=f"c{self.number}",
            model=arrival.model,
            public_model=arrival.model,
            prompt_tokens=arrival.prompt,
            max_tokens=arrival.max_tokens,
            account_id=arrival.account,
            traits=self._traits,
            excluded_sessions=frozenset(history.excluded),
            avoid_version=history.avoid_version,
            attempt=history.attempts + 1,
            prefixes=self._prefixes,
        )
