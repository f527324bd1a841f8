"""One request in the relay, from routing to settlement.

Invariant: the consumer's side hears exactly one outcome, and the settlement is started exactly once, on every path.
Owner: one task of the relay's nursery per request; the consumer's task only waits, writes bytes, or leaves.
"""

from __future__ import annotations

import base64
import logging
import traceback
from typing import TYPE_CHECKING, Final, cast

import trio

from protocol.api.errors import ApiError, internal_error
from protocol.failure import bad_text
from server.relay.answer_end import billed_usage, outcome_of_status, receipt_member, usage_report
from server.relay.attempt import Attempt
from server.relay.attempt_state import Effect, Event, Phase
from server.relay.chat_sink import AnswerSink, StreamSink, stream_sink
from server.relay.choose import ProviderChoice
from server.relay.dispatch import Wakeup, await_content, send_attempt
from server.relay.funds import ServedBy
from server.relay.history import in_stream_error, restarting_error
from server.relay.job import Answered, Committed, Refused
from server.relay.outlet import Outlet
from server.relay.provider_headers import provider_details, provider_headers
from server.relay.settle_once import SettleOnce
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.relay.watch import watch_answer, watch_stream

if TYPE_CHECKING:
    from native import Spout
    from protocol.messages.from_provider import InferenceComplete
    from server.registry.ledger import Reservation
    from server.registry.state import Session
    from server.relay.clocks import FirstContentClock
    from server.relay.job import RelayJob, RelayOutcome
    from server.relay.services import RelayServices

log = logging.getLogger("darkbloom.relay")

GONE_STATUS: Final = 499
"""Internal: a consumer that left or was too slow. Never sent."""


class RequestRun:
    """Runs one job. `decided` is set as soon as `outcome` says how the consumer's side goes on."""

    def __init__(self, services: RelayServices, nursery: trio.Nursery, job: RelayJob) -> None:
        self._services = services
        self._times = services.times
        self._job = job
        self._choice = ProviderChoice(services, job)
        self._settlement = SettleOnce(services, nursery, job.on_settling)
        self._woken = Wakeup()
        self._scope: trio.CancelScope | None = None
        """What is awaited before content: the consumer's leave and the clock end it."""
        self._outlet = Outlet(
            services.bounds,
            keep_alive_seconds=self._times.keep_alive,
            keep_alive=job.dialect.keep_alive,
            on_abandoned=self.consumer_left,
            on_spout=self._connect,
        )
        self._attempt: Attempt | None = None
        self._session: Session | None = None
        self._details: dict[str, object] = {}
        self._gone = False
        self._tries = 0
        self.decided = trio.Event()
        self.outcome: RelayOutcome | None = None

    def consumer_left(self) -> None:
        """The consumer's side ended before the answer did: free the capacity and cancel, at once."""
        if self._gone:
            return
        self._gone = True
        if self._attempt is not None:
            self._attempt.apply(Event.CONSUMER_GONE)
        if self._scope is not None:
            self._scope.cancel()
        self._woken()

    def _connect(self, spout: Spout) -> None:
        attempt = self._attempt
        if attempt is not None and isinstance(attempt.sink, StreamSink) and attempt.sink.direct:
            attempt.connect(spout)

    def _abandon_unsent(self) -> None:
        if not self._outlet.opened:
            self.consumer_left()

    async def run(self) -> None:
        """Serve the job to its end; raises nothing but cancellation."""
        try:
            await self._serve()
        except ApiError as error:
            self._refuse(error)
        except Exception as error:
            log.error("relay_crashed", extra=self._ids() | {"kind": type(error).__name__, "place": crash_place(error)})
            self._abort(internal_error(), Outcome.INTERNAL_ERROR)
        finally:
            # Changes nothing after an ordinary end; after a cancellation it ends what is left, without a checkpoint.
            self._abort(restarting_error(), Outcome.INTERNAL_ERROR)

    async def settled(self) -> None:
        """Wait until the settlement is over, well or not."""
        await self._settlement.wait()

    # --- before content ---------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        reservation: Reservation | None = None
        while not self._gone:
            with trio.CancelScope() as self._scope:
                if reservation is None:
                    await self._services.funds.admit(self._job)
                    first = await self._choice.first()
                    if isinstance(first, ApiError):
                        self._refuse(first)
                        return
                    reservation = first
                await self._send(await self._fund(reservation), self._scope)
            attempt = self._attempt
            if attempt is None:
                break  # the consumer left while the request waited for a provider
            await await_content(attempt, self._clock(), self._times, self._woken)
            if attempt.committed or self._gone:
                break
            reservation = self._next(attempt)
            if reservation is None:
                self._refuse(self._choice.final_error())
                return
        if self._attempt is not None and self._attempt.committed:
            await self._relay(self._attempt)
        else:
            self._end_unheard()

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
        """Open an attempt, which owns the reservation from then on, and send it; ends with a first sign of it."""
        attempt = self._open_attempt(reservation)
        body = self._job.make_body(reservation.model)
        cache_scope = self._job.cache_scope(reservation.model) if self._job.cache_scope is not None else ""
        await send_attempt(
            attempt,
            body,
            clock=self._clock(),
            woken=self._woken,
            scope=scope,
            cache_scope=cache_scope,
            inline_bytes=self._services.seal_inline_bytes,
        )

    def _clock(self) -> FirstContentClock:
        clock = self._choice.clock
        if clock is None:
            raise AssertionError("The clock runs from the first reservation on.")
        return clock

    def _open_attempt(self, reservation: Reservation) -> Attempt:
        clock, timing = self._choice.clock, self._choice.timing
        session = self._services.registry.session(reservation.session_id)
        if session is None or clock is None or timing is None:
            reservation.release()
            raise AssertionError("A fresh reservation has a live session, a clock and a timing record.")
        self._tries += 1
        self._session = session
        self._details = provider_details(session)
        attempt = Attempt(
            request_id=reservation.request_id,
            channel=session.channel,
            hold=reservation,
            sink=self._new_sink(reservation.request_id),
            clock=clock,
            timing=timing,
            wake=self._woken,
        )
        self._attempt = attempt
        reservation.bind_owner(lambda: not self._settlement.started)
        if self._gone:
            attempt.apply(Event.CONSUMER_GONE)
        return attempt

    def _new_sink(self, job_id: str) -> StreamSink | AnswerSink:
        job = self._job
        return stream_sink(job.new_stream(job_id), self._outlet) if job.stream else AnswerSink(job.new_answer(job_id))

    def _next(self, attempt: Attempt) -> Reservation | None:
        if attempt.failure is None or self._session is None:
            raise AssertionError("An attempt that is over without content has a failure and a session.")
        return self._choice.next(attempt.failure, self._session)

    def _refuse(self, error: ApiError) -> None:
        self._close_attempt(Event.SHUTDOWN)
        self._settle(outcome_of_status(error.status), error.status, None)
        self._decide(Refused(error))

    def _end_unheard(self) -> None:
        """The consumer left before content."""
        if self._session is not None:
            self._choice.note_attempt("abandoned", self._session)
        self._settle(Outcome.CLIENT_GONE, GONE_STATUS, None)
        self._decide(Refused(ApiError(GONE_STATUS, "client_gone", "The client left.")))

    # --- after content ----------------------------------------------------------------------------------------------

    async def _relay(self, attempt: Attempt) -> None:
        session = cast("Session", self._session)
        self._choice.note_content(session)
        if self._job.stream:
            self._decide(Committed(attempt.request_id, self._headers(attempt), self._outlet.pump, self._abandon_unsent))
            await watch_stream(attempt, self._outlet, self._times, self._woken, consumer_left=self.consumer_left)
        else:
            await watch_answer(attempt, self._times, self._woken)
        if attempt.sink.dropped:
            log.warning("provider_output_dropped", extra=self._ids() | {"events": attempt.sink.dropped})
        if attempt.terminal is Effect.FINISH and attempt.complete is not None:
            await self._finish(attempt, attempt.complete)
        elif attempt.terminal is Effect.BREAK:
            self._broken(attempt)
        else:  # parked, or parked and over before this task had its turn
            await self._park(attempt)

    async def _finish(self, attempt: Attempt, complete: InferenceComplete) -> None:
        """Settle first, so that a client that reads its usage right after the end sees it; then write the end."""
        usage = billed_usage(complete, self._job)
        self._choice.note_success(cast("Session", self._session))
        self._choice.note_attempt("success", cast("Session", self._session))
        settled = self._settle(Outcome.SUCCESS, 200, usage)
        await trio.lowlevel.checkpoint()
        if not settled.is_set():
            with trio.move_on_after(self._times.answer_waits_for_settlement):
                await settled.wait()
        stopped = (complete.stop_sequence or None) if self._job.asked_for_stop else None
        attachments = receipt_member(complete) | self._metadata(attempt)
        sink = attempt.sink
        if isinstance(sink, StreamSink):
            self._outlet.finish(
                sink.preamble()
                + sink.chat.finish(
                    usage_report(usage),
                    response_hash=complete.response_hash,
                    se_signature=complete.se_signature,
                    stop_sequence=stopped,
                    attachments=attachments,
                )
            )
        elif isinstance(sink, AnswerSink):
            answer = sink.chat.finish(
                usage_report(usage),
                response_hash=complete.response_hash,
                se_signature=complete.se_signature,
                stop_sequence=stopped,
                attachments=attachments,
            )
            self._decide(Answered(attempt.request_id, self._headers(attempt), answer))

    def _broken(self, attempt: Attempt) -> None:
        """The provider, or a limit of ours, ended a committed answer: nothing is charged."""
        failure = attempt.failure if attempt.failure is not None else bad_text()
        self._choice.note_broken(failure, cast("Session", self._session))
        error = in_stream_error(failure)
        self._end_broken(error)
        self._settle(outcome_of_status(error.status), error.status, None)

    async def _park(self, attempt: Attempt) -> None:
        """The consumer is gone or too slow: the capacity is free, the provider's last word may still tell usage."""
        if not self._gone:
            self._end_broken(ApiError(GONE_STATUS, "timeout", "The answer was not read fast enough; read it faster."))
        until = trio.current_time() + self._times.park
        while attempt.phase is Phase.PARKED:
            with trio.move_on_at(until):
                await self._woken.wait()
            if trio.current_time() >= until:
                attempt.apply(Event.PARK_EXPIRED)
        complete = attempt.complete
        usage = billed_usage(complete, self._job) if complete is not None else None
        self._choice.note_attempt("partial", cast("Session", self._session))
        self._settle(Outcome.CLIENT_GONE if usage is None else Outcome.PARTIAL_SUCCESS, GONE_STATUS, usage)
        self._decide(Refused(ApiError(GONE_STATUS, "client_gone", "The client left.")))

    def _end_broken(self, error: ApiError) -> None:
        """Tell the consumer in-band, or with a status if nothing was sent yet."""
        sink = self._attempt.sink if self._attempt is not None else None
        if isinstance(sink, StreamSink) and isinstance(self.outcome, Committed):
            self._outlet.finish(sink.chat.fail(error))
        else:
            self._decide(Refused(error))

    # --- every way out ----------------------------------------------------------------------------------------------

    def _abort(self, error: ApiError, outcome: Outcome) -> None:
        """End whatever is left after a crash or at a shutdown; synchronous."""
        self._close_attempt(Event.SHUTDOWN)
        self._end_broken(error)
        if not self._settlement.started:
            self._settle(outcome, error.status, None)

    def _close_attempt(self, event: Event) -> None:
        if self._attempt is not None:
            self._attempt.apply(event)

    def _decide(self, outcome: RelayOutcome) -> None:
        """The first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.decided.set()

    def _settle(self, outcome: Outcome, status: int, usage: BilledUsage | None) -> trio.Event:
        job, attempt, session = self._job, self._attempt, self._session
        committed = attempt is not None and attempt.committed
        return self._settlement.start(
            SettlementRecord(
                coord_request_id=job.coord_request_id,
                job_id=attempt.request_id if attempt is not None else None,
                account_id=job.account_id,
                key_id=job.key_id,
                public_model=job.public_model,
                build=self._choice.build if attempt is not None else None,
                session_id=session.session_id if session is not None else None,
                provider_id=session.ident.stable_id if session is not None else None,
                provider_account_id=session.ident.account_id if session is not None else None,
                stream=job.stream,
                outcome=outcome,
                status=status,
                usage=usage,
                delivered_deltas=attempt.sink.deltas if attempt is not None and committed else 0,
                delivered_text_bytes=attempt.sink.text_bytes if attempt is not None and committed else 0,
                max_tokens=job.max_tokens,
                attempts=self._tries,
                started_at=job.stamps.received,
                ended_at=trio.current_time(),
                segments=attempt.timing.segments() if attempt is not None and committed else None,
            )
        )

    def _headers(self, attempt: Attempt) -> dict[str, str]:
        return {
            "X-Inference-Job-ID": attempt.request_id,
            "X-Timing": attempt.timing.header(),
            **provider_headers(self._details),
        }

    def _metadata(self, attempt: Attempt) -> dict[str, object]:
        if not self._job.wants_metadata:
            return {}
        return {"metadata": self._details | {"job_id": attempt.request_id, "timing": attempt.timing.segments()}}

    def _ids(self) -> dict[str, object]:
        return {"coord_request_id": self._job.coord_request_id}


def served_by(session: Session, build: str) -> ServedBy:
    """Name a machine to the money side."""
    key = base64.b64encode(session.channel.public_key).decode()
    return ServedBy(account_id=session.ident.account_id, provider_key=key, build=build)


def crash_place(error: BaseException) -> str:
    """File and line where an exception was raised: all that a log may say of it besides its type."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown"
