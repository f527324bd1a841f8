"""One request in the relay, from routing to settlement.

Invariant: the consumer's side hears exactly one outcome, and the settlement is started exactly once, on every path.
Owner: one task of the relay's nursery per request, which settles it too; the consumer's task only waits, writes bytes,
or leaves.
"""

from __future__ import annotations

import logging
import traceback
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from protocol.api.errors import ApiError, internal_error
from protocol.failure import bad_text
from server.relay.answer_end import billed_usage, outcome_of_status, receipt_member, usage_report
from server.relay.attempt_state import Effect, Event, Phase
from server.relay.chat_sink import AnswerSink, StreamSink
from server.relay.choose import ProviderChoice
from server.relay.dispatch import Wakeup
from server.relay.history import in_stream_error, restarting_error
from server.relay.job import Answered, Committed, Refused
from server.relay.opening import Opening
from server.relay.outlet import Outlet
from server.relay.provider_headers import provider_headers
from server.relay.racers import Racers
from server.relay.settle_once import SettleOnce
from server.relay.settlement import BilledUsage, Outcome, SettlementRecord
from server.relay.watch import watch_answer, watch_stream

if TYPE_CHECKING:
    from native import Spout
    from protocol.messages.from_provider import InferenceComplete
    from server.relay.job import RelayJob, RelayOutcome
    from server.relay.patience import Patience
    from server.relay.racer import Racer
    from server.relay.services import RelayServices

log = logging.getLogger("darkbloom.relay")

GONE_STATUS: Final = 499
"""Internal: a consumer that left or was too slow. Never sent."""


class RequestRun:
    """Runs one job. `decided` is set as soon as `outcome` says how the consumer's side goes on.

    `patience` is for the settlement that the end of an answer waits for.
    """

    def __init__(self, services: RelayServices, patience: Patience, job: RelayJob) -> None:
        self._services = services
        self._patience = patience
        self._times = services.times
        self._job = job
        self._choice = ProviderChoice(services, job)
        self._settlement = SettleOnce(services, job.on_settling)
        self._woken = Wakeup()
        self._outlet = Outlet(
            services.bounds,
            keep_alive_seconds=self._times.keep_alive,
            keep_alive=job.dialect.keep_alive,
            on_abandoned=self.consumer_left,
            on_spout=self._connect,
        )
        self._racers = Racers(
            services,
            job,
            outlet=self._outlet,
            woken=self._woken,
            owner_alive=lambda: not self._settlement.started,
        )
        self._opening = Opening(services, job, self._choice, self._racers, self._woken)
        self._gone = False
        self.decided = trio.Event()
        self.outcome: RelayOutcome | None = None

    def consumer_left(self) -> None:
        """The consumer's side ended before the answer did: free the capacity and cancel, at once."""
        if self._gone:
            return
        self._gone = True
        self._opening.leave()

    def _connect(self, spout: Spout) -> None:
        racer = self._racers.chosen
        if racer is not None and isinstance(racer.attempt.sink, StreamSink) and racer.attempt.sink.direct:
            racer.attempt.connect(spout)

    def _abandon_unsent(self) -> None:
        if not self._outlet.opened:
            self.consumer_left()

    async def run(self) -> None:
        """Serve the job to its end, and settle it; raises nothing but cancellation."""
        try:
            await self._serve()
        except ApiError as error:
            self._refuse(error)
        except Exception as error:
            self._crashed(error)
        except BaseException:
            self._abort(restarting_error(), Outcome.INTERNAL_ERROR)  # cancelled: end what is left, without a checkpoint
            raise
        finally:
            await self._settlement.finish()

    # --- before content ---------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        opened = await self._opening.run()
        if isinstance(opened, ApiError):
            self._refuse(opened)
        elif opened is None:
            self._end_unheard()
        else:
            if opened.choose is not None:
                opened.choose()
            await self._relay(opened)

    def _end_unheard(self) -> None:
        """The consumer left before content."""
        for racer in self._racers.open:
            self._choice.note_attempt("abandoned", racer.session)
        self._settle(Outcome.CLIENT_GONE, GONE_STATUS, None)
        self._decide(Refused(ApiError(GONE_STATUS, "client_gone", "The client left.")))

    # --- after content ----------------------------------------------------------------------------------------------

    async def _relay(self, racer: Racer) -> None:
        attempt = racer.attempt
        self._choice.note_content(racer)
        if self._job.stream:
            crash_event = (
                partial(attempt.sink.chat.fail, internal_error()) if isinstance(attempt.sink, StreamSink) else bytes
            )
            headers = self._headers(racer)
            self._decide(Committed(attempt.request_id, headers, self._outlet.pump, self._abandon_unsent, crash_event))
            await watch_stream(attempt, self._outlet, self._times, self._woken, consumer_left=self.consumer_left)
        else:
            await watch_answer(attempt, self._times, self._woken)
        dropped = attempt.sink.chat.dropped_events + attempt.sink.chat.dropped_calls
        if dropped:
            log.warning("provider_output_dropped", extra=self._ids() | {"events": dropped})
        if attempt.terminal is Effect.FINISH and attempt.complete is not None:
            await self._finish(racer, attempt.complete)
        elif attempt.terminal is Effect.BREAK:
            self._broken(racer)
        else:  # parked, or parked and over before this task had its turn
            await self._park(racer)

    async def _finish(self, racer: Racer, complete: InferenceComplete) -> None:
        """Settle first, so that a client that reads its usage right after the end sees it; then write the end."""
        usage = billed_usage(complete, self._job)
        self._choice.note_success(racer, usage.completion_tokens)
        self._choice.note_cache(racer, complete.usage)
        self._settle(Outcome.SUCCESS, 200, usage)
        waiting = self._patience.begin(partial(self._end_unsettled, racer, complete, usage))
        await self._settlement.finish()
        if waiting.end():
            self._end(racer, complete, usage)

    def _end_unsettled(self, racer: Racer, complete: InferenceComplete, usage: BilledUsage) -> None:
        """The settlement takes too long: end the answer before it. Whoever calls this must not hear of our faults."""
        try:
            self._end(racer, complete, usage)
        except Exception as error:
            self._crashed(error)

    def _end(self, racer: Racer, complete: InferenceComplete, usage: BilledUsage) -> None:
        """Write the end of a complete answer."""
        attempt = racer.attempt
        stopped = (complete.stop_sequence or None) if self._job.asked_for_stop else None
        attachments = receipt_member(complete) | self._metadata(racer)
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
            self._decide(Answered(attempt.request_id, self._headers(racer), answer))

    def _broken(self, racer: Racer) -> None:
        """The provider, or a limit of ours, ended a committed answer: nothing is charged."""
        failure = racer.attempt.failure if racer.attempt.failure is not None else bad_text()
        self._choice.note_broken(failure, racer)
        error = in_stream_error(failure)
        self._end_broken(error)
        self._settle(outcome_of_status(error.status), error.status, None)

    async def _park(self, racer: Racer) -> None:
        """The consumer is gone or too slow: the capacity is free, the provider's last word may still tell usage."""
        attempt = racer.attempt
        # Whoever left hears nothing of it; whoever begins to read only now must not wait for ever.
        self._end_broken(ApiError(GONE_STATUS, "timeout", "The answer was not read fast enough; read it faster."))
        until = trio.current_time() + self._times.park
        while attempt.phase is Phase.PARKED:
            with trio.move_on_at(until):
                await self._woken.wait()
            if trio.current_time() >= until:
                attempt.apply(Event.PARK_EXPIRED)
        complete = attempt.complete
        usage = billed_usage(complete, self._job) if complete is not None else None
        self._choice.note_attempt("partial", racer.session)
        self._settle(Outcome.CLIENT_GONE if usage is None else Outcome.PARTIAL_SUCCESS, GONE_STATUS, usage)

    def _end_broken(self, error: ApiError) -> None:
        """Tell the consumer in-band, or with a status if nothing was sent yet."""
        sink = self._racers.chosen.attempt.sink if self._racers.chosen is not None else None
        if not (isinstance(sink, StreamSink) and isinstance(self.outcome, Committed)):
            self._decide(Refused(error))
            return
        try:
            event = sink.chat.fail(error)
        except Exception as fault:  # what made the answer fail may fail in telling of it, too
            self._log_crash(fault)
            event = b""
        self._outlet.finish(event)

    # --- every way out ----------------------------------------------------------------------------------------------

    def _refuse(self, error: ApiError) -> None:
        self._abort(error, outcome_of_status(error.status))

    def _crashed(self, error: Exception) -> None:
        self._log_crash(error)
        self._abort(internal_error(), Outcome.INTERNAL_ERROR)

    def _abort(self, error: ApiError, outcome: Outcome) -> None:
        """End whatever is left, with an error; synchronous."""
        self._racers.end(Event.SHUTDOWN)
        if not self._settlement.started:
            self._settle(outcome, error.status, None)
        self._end_broken(error)

    def _log_crash(self, error: Exception) -> None:
        log.error("relay_crashed", extra=self._ids() | {"kind": type(error).__name__, "place": crash_place(error)})

    def _decide(self, outcome: RelayOutcome) -> None:
        """The first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.decided.set()

    def _settle(self, outcome: Outcome, status: int, usage: BilledUsage | None) -> None:
        job, racer = self._job, self._racers.chosen
        attempt = racer.attempt if racer is not None else None
        session = racer.session if racer is not None else None
        committed = attempt is not None and attempt.committed
        self._settlement.start(
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
                attempts=self._racers.tries,
                started_at=job.stamps.received,
                ended_at=self._services.clock(),
                segments=attempt.timing.segments() if attempt is not None and committed else None,
            )
        )

    def _headers(self, racer: Racer) -> dict[str, str]:
        return {
            "X-Inference-Job-ID": racer.attempt.request_id,
            "X-Timing": racer.attempt.timing.header(),
            **provider_headers(racer.details),
        }

    def _metadata(self, racer: Racer) -> dict[str, object]:
        if not self._job.wants_metadata:
            return {}
        attempt = racer.attempt
        routing = msgspec.to_builtins(self._services.registry.traces.of(self._job.coord_request_id))
        more = {"job_id": attempt.request_id, "timing": attempt.timing.segments(), "routing": routing}
        return {"metadata": racer.details | more}

    def _ids(self) -> dict[str, object]:
        return {"coord_request_id": self._job.coord_request_id}


def crash_place(error: BaseException) -> str:
    """File and line where an exception was raised: all that a log may say of it besides its type."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown"
