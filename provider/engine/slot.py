"""One attached model on the engine thread: the course of its rows from admission to the terminal event.

Invariant: owned by the engine thread. Every row in `rows` is live, and leaves through `_end`, once.
"""

import logging
from collections import deque
from collections.abc import Callable

from provider.engine import failures
from provider.engine.admission import budget_max, must_wait, refusal_of
from provider.engine.backend import Backend
from provider.engine.concurrency import AdaptiveCap
from provider.engine.events import Cause, Failure, Finished, FinishReason
from provider.engine.faults import FaultLog, is_allocator_fault
from provider.engine.lane import Lane, StepResult
from provider.engine.limits import EngineLimits
from provider.engine.meter import Meter
from provider.engine.model import LoadedModel
from provider.engine.model_prefixes import ModelPrefixes
from provider.engine.prefill import Pace
from provider.engine.prefixes import PrefixStore
from provider.engine.reservation import lane_of
from provider.engine.row import Outbox, Row
from provider.engine.rows import SlotRows
from provider.engine.snapshot import SlotSnapshot, SlotState
from provider.engine.timers import can_meet_deadline, overdue
from provider.observe.place import last_place

logger = logging.getLogger(__name__)

BROKEN_CHECK_EVERY = 16
"""Tokens between two checks of a row's numbers; token 0, which broken logits select, is always checked."""

_REASONS = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class Slot:
    """Serves the requests of one model. `ended` is called with the number of each row that got its terminal event."""

    def __init__(
        self,
        model: LoadedModel,
        backend: Backend,
        *,
        limits: EngineLimits,
        clock: Callable[[], float],
        ended: Callable[[int], None],
        prefixes: PrefixStore,
    ) -> None:
        self.model = model
        self.crashed = False
        self.detaching = False
        self.faults = 0
        self.row_part = 1.0
        self._began = False
        self.rows = SlotRows(model, backend, limits.max_concurrent, clock)
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._ended = ended
        self._prefixes = prefixes
        self._finished = ModelPrefixes(model, backend, prefixes)
        self._learned = AdaptiveCap(limits.max_concurrent)
        self._faults = FaultLog(window_seconds=limits.fault_window, limit=limits.faults_to_crash)
        self._meter = Meter(clock())

    @property
    def is_steady(self) -> bool:
        """Whether the last step only went on with rows that had begun, and the next one will."""
        return not (self._began or self.rows.waiting or self.rows.prefilling_lanes)

    @property
    def has_unstored(self) -> bool:
        """Whether caches of finished rows wait to be stored."""
        return bool(self._finished)

    def max_concurrency(self, now: float) -> int:
        """Rows that may run together now."""
        if not self.model.batchable:
            return 1
        cap = min(self._faults.cap(self._limits.max_concurrent, now), self._learned.rows(now))
        return max(1, int(cap * self.row_part))

    def submit(self, row: Row, available_bytes: int, now: float, out: Outbox) -> None:
        """Queue a row, or end it at once when it can never run or the queue is full."""
        self._meter.last_used_at = now
        if self.crashed or self.detaching:
            refusal: Failure | None = failures.failure(Cause.MODEL_UNAVAILABLE)
        else:
            cap = self.max_concurrency(now)
            refusal = refusal_of(
                row, self.model, self.rows, self._limits, available_bytes=available_bytes, max_rows=cap
            )
        if refusal is not None:
            self._end(row, FinishReason.ERROR, out, refusal)
        elif row.max_tokens == 0:
            self._end(row, FinishReason.LENGTH, out)
        else:
            self.rows.waiting.append(row)

    def admit(self, available_bytes: int, out: Outbox) -> None:
        """Start waiting rows in arrival order as far as rows, memory and deadlines allow.

        A row that does not fit is overtaken by later ones until it has aged.
        """
        rows, now = self.rows, self._clock()
        if not rows.waiting:
            return
        left = self.max_concurrency(now) - rows.started
        free = available_bytes
        blocked: deque[Row] = deque()
        while rows.waiting and left > 0:
            row = rows.waiting.popleft()
            if not can_meet_deadline(row, now, self._meter.prompt_speed(now)):
                self._end(row, FinishReason.ERROR, out, failures.failure(Cause.DEADLINE_UNREACHABLE))
                continue
            if must_wait(row, rows, free, self._meter.chunk_tps):
                blocked.append(row)
                if now - row.submitted_at >= self._limits.aged_after:
                    break
                continue
            cost = rows.cost(row)
            row.admitted_at = now
            self._meter.admits += 1
            reuse = self._finished.find(row, now)
            self._prefixes.shrink(free - cost)
            try:
                rows.lane(row).start(row, reuse)
            except Exception as error:  # the library refuses a row before it changes anything, so only this row ends
                _log_fault(error)
                self._end(row, FinishReason.ERROR, out, failures.failure(Cause.ENGINE_ERROR))
                continue
            free -= cost
            left -= 1
        rows.waiting.extendleft(reversed(blocked))

    def resume_ready(self, out: Outbox) -> None:
        """Put paused rows back whose reader has caught up."""
        for key, lane in list(self.rows.lanes.items()):
            for row in [row for row in lane.paused.values() if row.sink.window.may_resume]:
                row.end_pause(self._clock())
                try:
                    lane.resume(row)
                except Exception as error:  # the generator's state is unknown now
                    self._lose(key, row, error, out)
                    break

    def step(self, pace: Pace, out: Outbox) -> None:
        """Run one step of every lane that has rows; a fault ends the rows of its lane only."""
        self._began = False
        for key, lane in list(self.rows.lanes.items()):
            count, decodes = len(lane.rows), not lane.prefilling
            if not count:
                continue
            try:
                result = lane.step(self._meter.chunk_tps, pace, prefill_step=self._limits.prefill_step)
            except Exception as error:  # whatever the model code raises ends these rows and no others
                self._fault(key, error, out)
                continue
            if decodes and len(self.rows.lanes) == 1:
                self._learned.note(count, lane.decode_seconds, self._clock())
            self._take(key, lane, result, out)
            self._meter.steps += 1

    def cancel(self, row: Row, out: Outbox) -> None:
        """End a row because its reader no longer wants it."""
        self._drop(row, out)
        self._end(row, FinishReason.CANCELLED, out)

    def store_finished(self) -> None:
        """Keep the caches of rows that have ended, for later requests of the same scope."""
        self._finished.store(self._clock())

    def sweep(self, out: Outbox) -> None:
        """End the rows whose time is over."""
        now = self._clock()
        for row in list(self.rows):
            cause = overdue(row, now, self._limits, self._meter.prefill_tps.value)
            if cause is not None and not row.has_ended:
                self._drop(row, out)
                self._end(row, FinishReason.ERROR, out, failures.failure(cause))

    def close(self) -> None:
        """Drop generators and caches; the slot must be empty."""
        self._finished.forget()
        self.rows.close()
        self._backend.clear()

    def snapshot(self, available_bytes: int, now: float) -> SlotSnapshot:
        """Return the slot's figures."""
        lanes, meter, cap = self.rows.lanes.values(), self._meter, self.max_concurrency(now)
        paused = [row for lane in lanes for row in lane.paused.values()]
        started = [row for lane in lanes for row in lane.rows.values()] + paused
        state = SlotState.CRASHED if self.crashed else SlotState.RUNNING if started else SlotState.IDLE
        return SlotSnapshot(
            model=self.model.model_id,
            state=state,
            running=len(started),
            waiting=len(self.rows.waiting),
            paused=len(paused),
            max_concurrency=cap,
            active_tokens=sum(row.prompt_length + row.generated for row in started),
            max_tokens_potential=sum(row.reserved for row in started),
            budget_used=self.rows.charged_tokens,
            budget_max=budget_max(self.model, self.rows, available_bytes, cap),
            queued_budget=self.rows.queued_tokens,
            kv_bytes_per_token=self.model.kv_bytes_per_token,
            weight_bytes=self.model.weight_bytes,
            decode_tps=meter.decode_tps.value,
            prefill_tps=meter.prefill_tps.value,
            load_time_ms=self.model.load_time_ms,
            steps_executed=meter.steps,
            admits=meter.admits,
            first_tokens_emitted=meter.first_tokens,
            last_step_at=meter.last_step_at,
            last_first_token_at=meter.last_first_token_at,
            last_used_at=meter.last_used_at,
        )

    def _take(self, key: int, lane: Lane, result: StepResult, out: Outbox) -> None:
        now = self._clock()
        self._meter.last_step_at = now
        if result.prefill_speed is not None:
            self._meter.note_chunk(result.prefill_speed)
        for row in result.to_keep:
            self._finished.take_from(row, lane)
        rows = lane.rows
        for response in result.tokens:
            row = rows[response.uid]
            token = response.token
            try:
                if row.first_token_at is None:
                    self._began = True
                    self._meter.note_first_token(row, now)
                if (token == 0 or not row.generated % BROKEN_CHECK_EVERY) and self._backend.is_broken(response):
                    if not self._remove(key, lane, row, Cause.GENERATION_FAILURE, out):
                        return
                    continue
                stopped = row.take(token, now, out)
            except Exception as error:  # a fault over one row's text says nothing about the others
                _log_fault(error)
                if not self._remove(key, lane, row, Cause.ENGINE_ERROR, out):
                    return
                continue
            if response.finish_reason is not None:
                lane.ended(row)
                self._finished.take(row, response.prompt_cache, response.all_tokens)
                self._end_generated(row, _REASONS[response.finish_reason], out)
            elif stopped:
                if not self._stop(key, lane, row, out):
                    return
            elif row.sink.window.is_full and not self._pause(key, lane, row, out):
                return

    def _stop(self, key: int, lane: Lane, row: Row, out: Outbox) -> bool:
        """End a row at a stop string; False if the lane broke over it."""
        try:
            if row.request.cache_scope:
                self._finished.take(row, *lane.take_out(row))
            else:
                lane.remove(row)
        except Exception as error:  # the answer is complete, whatever became of its generator
            lane.ended(row)
            self._end_generated(row, FinishReason.STOP, out)
            self._fault(key, error, out)
            return False
        self._end_generated(row, FinishReason.STOP, out)
        return True

    def _end_generated(self, row: Row, reason: FinishReason, out: Outbox) -> None:
        """End a row that came to its own end, unless what constrained it has failed."""
        guard = row.sampling.guard if row.sampling is not None else None
        if guard is not None and guard.failed:
            self._end(row, FinishReason.ERROR, out, failures.failure(Cause.GENERATION_FAILURE))
        else:
            self._end(row, reason, out)

    def _remove(self, key: int, lane: Lane, row: Row, cause: Cause, out: Outbox) -> bool:
        """End a row with an error and take it out; False if the lane broke over it."""
        self._end(row, FinishReason.ERROR, out, failures.failure(cause))
        try:
            lane.remove(row)
        except Exception as error:  # the generator's state is unknown now
            self._fault(key, error, out)
            return False
        return True

    def _drop(self, row: Row, out: Outbox) -> None:
        """Take a live row out of queue or lane, which may break the lane."""
        try:
            self.rows.drop(row)
        except Exception as error:  # the generator's state is unknown now
            self._fault(lane_of(row.reserved), error, out)

    def _pause(self, key: int, lane: Lane, row: Row, out: Outbox) -> bool:
        """Take a row out whose reader is behind; False if the lane broke over it."""
        window = row.sink.window
        window.paused = True
        if not window.is_full:
            window.paused = False
            return True
        row.paused_at = self._clock()
        try:
            lane.pause(row)
        except Exception as error:  # the generator's state is unknown now
            self._lose(key, row, error, out)
            return False
        return True

    def _lose(self, key: int, row: Row, error: Exception, out: Outbox) -> None:
        """End a row that is between lane and pause, and then its lane."""
        self.rows.lanes[key].ended(row)
        self._end(row, FinishReason.ERROR, out, failures.failure(Cause.ENGINE_ERROR))
        self._fault(key, error, out)

    def _fault(self, key: int, error: Exception, out: Outbox) -> None:
        now = self._clock()
        _log_fault(error)
        self.faults += 1
        self.crashed = self._faults.add(now, allocator=is_allocator_fault(error)) or self.crashed
        lanes = self.rows.lanes
        lost = [row for lane in (list(lanes) if self.crashed else [key]) for row in lanes.pop(lane).close()]
        if self.crashed:
            lost += self.rows.waiting
            self.rows.waiting.clear()
        for row in lost:
            self._end(row, FinishReason.ERROR, out, failures.failure(Cause.ENGINE_ERROR))
        self._finished.forget()
        self._backend.clear()

    def _end(self, row: Row, reason: FinishReason, out: Outbox, refusal: Failure | None = None) -> None:
        row.has_ended = True
        try:
            row.finish(reason, out, failure=refusal)
        except Exception as error:  # the held text is lost, the terminal event is not
            _log_fault(error)
            out.append((row.sink, Finished(FinishReason.ERROR, row.usage, None, failures.failure(Cause.ENGINE_ERROR))))
        self._meter.note_end(row, self._clock())
        self._ended(row.number)


def _log_fault(error: Exception) -> None:
    """Log kind and place of a fault; its text may hold anything."""
    logger.error("generator fault", extra={"fault": type(error).__name__, "place": last_place(error)})
