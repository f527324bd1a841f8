"""A request before its first content: reserve, fix the price, send; fail over, and race a backup where that pays.

Invariant: at most two attempts of a request are open, and the step in which one commits ends the other.
Invariant: a reservation is owned by an attempt or released, on every path out.
Owner: the request's task in the relay. A backup is dispatched by a child task that ends before the race does.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import trio

from protocol.api.errors import ApiError
from server.relay.attempt import Attempt
from server.relay.attempt_state import Effect, Event
from server.relay.chat_sink import AnswerSink, StreamSink, stream_sink
from server.relay.dispatch import await_content, look_at_clock, next_due, send_attempt
from server.relay.funds import ServedBy
from server.relay.provider_headers import provider_details
from server.relay.racer import Racer

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.ledger import Reservation
    from server.registry.state import Session
    from server.relay.choose import Backup, ProviderChoice
    from server.relay.clocks import ContentClock, FirstContentClock
    from server.relay.dispatch import Wakeup
    from server.relay.job import RelayJob
    from server.relay.outlet import Outlet
    from server.relay.services import RelayServices
    from server.relay.timing import AttemptTiming


class Opening:
    """Brings one request to its first content; `racer` is the attempt that counts, once there is one."""

    def __init__(
        self,
        services: RelayServices,
        job: RelayJob,
        choice: ProviderChoice,
        *,
        outlet: Outlet,
        woken: Wakeup,
        owner_alive: Callable[[], bool],
    ) -> None:
        self._services = services
        self._times = services.times
        self._job = job
        self._choice = choice
        self._outlet = outlet
        self._woken = woken
        self._owner_alive = owner_alive
        self._scope: trio.CancelScope | None = None
        """What is awaited before the first sign of an attempt: the consumer's leave and the clock end it."""
        self._racers: list[Racer] = []
        """Attempts that are open, or over and not yet noted."""
        self._backup_starts = False
        self._again = False
        self._gone = False
        self.racer: Racer | None = None
        self.tries = 0

    def leave(self) -> None:
        """The consumer is gone: end what is open, and wait for nothing more."""
        self._gone = True
        self.end(Event.CONSUMER_GONE)
        if self._scope is not None:
            self._scope.cancel()
        self._woken()

    def end(self, event: Event) -> None:
        """Tell all open attempts."""
        for one in tuple(self._racers):
            one.attempt.apply(event)

    def open_racers(self) -> tuple[Racer, ...]:
        """Attempts that are open, or that the consumer left behind."""
        return tuple(self._racers)

    async def run(self) -> Racer | ApiError | None:
        """Return the attempt with content, the client's answer when nothing is left to try, or None: nobody waits.

        Raises ApiError, from the money side and from the making of the body.
        """
        reservation: Reservation | None = None
        while not self._gone:
            with trio.CancelScope() as self._scope:
                if reservation is None:
                    await self._services.funds.admit(self._job)
                    self._job.stamps.reserved = trio.current_time()
                    if self._job.media is not None:
                        await self._job.media.inline()
                        await self._services.funds.grow(self._job)
                    first = await self._choice.first()
                    if isinstance(first, ApiError):
                        return first
                    reservation = first
                await self._send(await self._fund(reservation), self._scope)
            if not self._racers:
                return None  # the consumer left while the request waited for a provider
            await self._first_content(self._racers[0])
            if self.racer is not None and self.racer.attempt.committed:
                return self.racer
            if self._has_left():
                return None
            reservation = self._choice.next() if self._again else None
            if reservation is None:
                return self._choice.final_error()
        return None

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _fund(self, reservation: Reservation) -> Reservation:
        """Fix the price of this dispatch, or of one to another machine; raises ApiError when none can be afforded."""
        while True:
            session = self._services.registry.session(reservation.session_id)
            refusal: ApiError | None = None
            if session is not None:
                try:
                    refusal = await self._services.funds.dispatch(self._job, served_by(session, reservation.model))
                except BaseException:
                    reservation.release()
                    raise
                if refusal is None and self._services.registry.session(reservation.session_id) is session:
                    return reservation
                if refusal is not None:
                    self._choice.note_attempt("unaffordable", session)
            # Too dear, or gone while the price was being fixed.
            reservation.release()
            following = self._choice.another(reservation.session_id)
            if following is None:
                raise refusal if refusal is not None else self._choice.final_error()
            reservation = following

    async def _send(self, reservation: Reservation, scope: trio.CancelScope) -> None:
        """Open an attempt, send it, and wait for a first sign of it or for the time of its backup."""
        racer = self._open(reservation, self._clock(), self._choice.timing)
        await self._submit(racer, self._job.make_body(reservation.model), scope)
        # Most answers begin in time: the same scope does for this wait.
        if racer.attempt.is_pending():
            scope.deadline = min(scope.deadline, self._choice.backup_at)
            await self._woken.wait()

    def _open(
        self,
        reservation: Reservation,
        clock: ContentClock,
        timing: AttemptTiming | None,
        choose: Callable[[], None] | None = None,
    ) -> Racer:
        """Open an attempt, which owns the reservation from then on."""
        session = self._services.registry.session(reservation.session_id)
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
        opened_at = trio.current_time()
        racer = Racer(attempt, session, reservation.model, clock, opened_at, provider_details(session), choose)
        self._racers.append(racer)
        if self.racer is None or not self.racer.attempt.is_pending():
            self.racer = racer
        if self._gone:
            attempt.apply(Event.CONSUMER_GONE)
        return racer

    def _new_sink(self, job_id: str, build: str) -> StreamSink | AnswerSink:
        job = self._job
        if job.stream:
            return stream_sink(job.new_stream(job_id, build), self._outlet)
        return AnswerSink(job.new_answer(job_id, build))

    async def _submit(self, racer: Racer, body: bytes, scope: trio.CancelScope) -> None:
        cache_scope = self._job.cache_scope(racer.build) if self._job.cache_scope is not None else ""
        await send_attempt(
            racer.attempt,
            body,
            clock=racer.clock,
            scope=scope,
            cache_scope=cache_scope,
            inline_bytes=self._services.seal_inline_bytes,
        )

    def _clock(self) -> FirstContentClock:
        clock = self._choice.clock
        if clock is None:
            raise AssertionError("The clock runs from the first reservation on.")
        return clock

    # --- waiting for content ----------------------------------------------------------------------------------------

    async def _first_content(self, primary: Racer) -> None:
        """Wait until an attempt is committed, or all are over and their failures noted."""
        await await_content(primary.attempt, primary.clock, self._times, self._woken, until=self._choice.backup_at)
        backup = self._choice.backup(primary) if primary.attempt.is_pending() and not self._gone else None
        if backup is None:
            await await_content(primary.attempt, primary.clock, self._times, self._woken)
            self._note_failures()
        else:
            await self._race(backup)

    def _committed(self, attempt: Attempt) -> None:
        """Content decides a race in the very step in which it arrives: nobody else can commit any more."""
        for one in tuple(self._racers):
            if one.attempt is attempt:
                self.racer = one
            else:
                one.attempt.apply(Event.LOST)

    def _has_left(self) -> bool:
        return self._gone

    def _is_decided(self) -> bool:
        return self._gone or self._choice.history.stopped or (self.racer is not None and self.racer.attempt.committed)

    def _note_failures(self) -> None:
        """Tell the choice about attempts that failed; what lost or was left is no failure."""
        for one in tuple(self._racers):
            attempt = one.attempt
            if attempt.is_pending() or attempt.committed or attempt.terminal is Effect.LOSE or self._gone:
                continue
            self._racers.remove(one)
            if attempt.terminal is Effect.RETRY:
                if attempt.failure is None:
                    raise AssertionError("An attempt that failed before content says why.")
                self._again = self._choice.failed(attempt.failure, one)
                self.racer = one

    # --- the race ---------------------------------------------------------------------------------------------------

    async def _race(self, backup: Backup) -> None:
        """Send the backup and wait for the first content of either, or for the end of both."""
        self._backup_starts = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._dispatch_backup, backup)
                await self._first_of_both()
                nursery.cancel_scope.cancel()
        finally:
            self._end_race(backup)

    async def _first_of_both(self) -> None:
        while True:
            self._note_failures()
            if self._is_decided():
                return
            racers = tuple(self._racers)
            if not racers and not self._backup_starts:
                return
            limit = self._clock().deadline
            due = min((next_due(one.attempt, one.clock, self._times) for one in racers), default=limit)
            with trio.move_on_at(due):
                await self._woken.wait()
            now = trio.current_time()
            for one in racers:
                look_at_clock(one.attempt, one.clock, self._times, now)
            if not racers and now >= limit:
                return

    async def _dispatch_backup(self, backup: Backup) -> None:
        """Fix the money of the backup and send it; it never surfaces an error of its own."""
        racer: Racer | None = None
        body = b""
        try:
            body = self._job.make_body(backup.reservation.model)
            racer = await self._open_backup(backup)
        except ApiError:
            pass  # the first attempt runs on; its retry would hear the same
        finally:
            self._backup_starts = False
            if racer is None and not backup.reservation.released:
                backup.reservation.release()
            self._woken()
        if racer is not None:
            with trio.CancelScope() as scope:
                await self._submit(racer, body, scope)

    async def _open_backup(self, backup: Backup) -> Racer | None:
        reservation, registry = backup.reservation, self._services.registry
        session = registry.session(reservation.session_id)
        if session is None:
            return None
        choose = await self._services.funds.hedge(self._job, served_by(session, reservation.model))
        if choose is None:
            self._choice.note_attempt("unaffordable", session)
            return None
        if self._is_decided() or registry.session(reservation.session_id) is not session:
            return None
        backup.sent = True
        return self._open(reservation, self._clock().backup(), backup.timing, choose)

    def _end_race(self, backup: Backup) -> None:
        """Give the governor its ticket back, and end whoever still runs without having won."""
        winner = self.racer if self.racer is not None and self.racer.attempt.committed else None
        for one in tuple(self._racers):
            if one is winner:
                continue
            if not self._gone:
                one.attempt.apply(Event.LOST)
            if one.attempt.terminal is Effect.LOSE:
                self._racers.remove(one)
                self._choice.note_attempt("hedge_lost", one.session)
        won = winner is not None and winner.is_backup
        self._choice.hedge_ended(backup, won=None if self._gone or not backup.sent else won)


def served_by(session: Session, build: str) -> ServedBy:
    """Name a machine to the money side."""
    key = base64.b64encode(session.channel.public_key).decode()
    return ServedBy(account_id=session.ident.account_id, provider_key=key, build=build)
