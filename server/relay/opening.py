"""A request before its first content: reserve, fix the price, send; fail over, and race a backup where that pays.

Invariant: a reservation is owned by an attempt or released, on every path out.
Owner: the request's task in the relay. A backup is dispatched by a child task that ends before the race does.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import trio

from protocol.api.errors import ApiError
from server.relay.dispatch import await_content, look_at_clock, next_due, send_attempt
from server.relay.funds import ServedBy

if TYPE_CHECKING:
    from server.registry.ledger import Reservation
    from server.registry.state import Session
    from server.relay.choose import Backup, ProviderChoice
    from server.relay.clocks import FirstContentClock
    from server.relay.dispatch import Wakeup
    from server.relay.job import RelayJob
    from server.relay.racer import Racer
    from server.relay.racers import Racers
    from server.relay.services import RelayServices


class Opening:
    """Brings one request to its first content."""

    def __init__(
        self, services: RelayServices, job: RelayJob, choice: ProviderChoice, racers: Racers, woken: Wakeup
    ) -> None:
        self._services = services
        self._times = services.times
        self._job = job
        self._choice = choice
        self._racers = racers
        self._woken = woken
        self._scope: trio.CancelScope | None = None
        """What is awaited before the first sign of an attempt: the consumer's leave and the clock end it."""
        self._backup_starts = False
        self._again = False

    def leave(self) -> None:
        """The consumer is gone: end what is open, and wait for nothing more."""
        self._racers.leave()
        if self._scope is not None:
            self._scope.cancel()
        self._woken()

    async def run(self) -> Racer | ApiError | None:
        """Return the attempt with content, the client's answer when nothing is left to try, or None: nobody waits.

        Raises ApiError, from the money side and from the making of the body.
        """
        racers = self._racers
        reservation: Reservation | None = None
        while not racers.gone:
            with trio.CancelScope() as self._scope:
                if reservation is None:
                    await self._admit()
                    first = await self._choice.first()
                    if isinstance(first, ApiError):
                        return first
                    reservation = first
                await self._send(await self._fund(reservation), self._scope)
            if not racers.open:
                return None  # the consumer left while the request waited for a provider
            await self._first_content(racers.open[0])
            if racers.winner is not None or racers.gone:
                return racers.winner
            reservation = self._choice.next() if self._again else None
            if reservation is None:
                return self._choice.final_error()
        return None

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _admit(self) -> None:
        """Hold the money, and bring in what the request only refers to."""
        funds, job = self._services.funds, self._job
        await funds.admit(job)
        job.stamps.reserved = self._services.clock()
        if job.media is not None:
            await job.media.inline()
            await funds.grow(job)

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
        racer = self._racers.enter(reservation, self._clock(), self._choice.timing)
        await self._submit(racer, self._job.make_body(reservation.model), scope)
        # Most answers begin in time: the same scope does for this wait.
        if racer.attempt.is_pending():
            scope.deadline = min(scope.deadline, self._choice.backup_at)
            await self._woken.wait()

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
        attempt, clock = primary.attempt, primary.clock
        await await_content(attempt, clock, self._times, self._woken, until=self._choice.backup_at)
        backup = self._choice.backup(primary) if attempt.is_pending() else None
        if backup is None:
            await await_content(attempt, clock, self._times, self._woken)
            self._note_failures()
        else:
            await self._race(backup)

    def _note_failures(self) -> None:
        """Tell the choice about attempts that failed."""
        for one in self._racers.take_failed():
            if one.attempt.failure is None:
                raise AssertionError("An attempt that failed before content says why.")
            self._again = self._choice.failed(one.attempt.failure, one)

    def _is_decided(self) -> bool:
        return self._racers.gone or self._racers.winner is not None or self._choice.history.stopped

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
            racers = tuple(self._racers.open)
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
        return self._racers.enter(reservation, self._clock().backup(), backup.timing, choose)

    def _end_race(self, backup: Backup) -> None:
        """Give the governor its ticket back, and end whoever still runs without having won."""
        for one in self._racers.take_losers():
            self._choice.note_attempt("hedge_lost", one.session)
        winner = self._racers.winner
        decided = backup.sent and (winner is not None or not self._racers.gone)
        self._choice.hedge_ended(backup, won=(winner is not None and winner.is_backup) if decided else None)


def served_by(session: Session, build: str) -> ServedBy:
    """Name a machine to the money side."""
    key = base64.b64encode(session.channel.public_key).decode()
    return ServedBy(account_id=session.ident.account_id, provider_key=key, build=build)
