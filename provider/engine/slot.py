"""One attached model on the engine thread: its queue, admission, lanes and measurements.

Invariant: owned by the engine thread. Every row in `waiting` or in a lane is live, and leaves through `_end`, once.
"""

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterator

from provider.engine import failures
from provider.engine.average import Average
from provider.engine.backend import Backend
from provider.engine.events import Cause, Failure, FinishReason
from provider.engine.faults import FaultLog, is_allocator_fault
from provider.engine.lane import Lane, StepResult
from provider.engine.limits import EngineLimits
from provider.engine.model import LoadedModel
from provider.engine.prefill import chunk_tokens
from provider.engine.reservation import lane_of, round_to_step
from provider.engine.row import Outbox, Row
from provider.engine.snapshot import SlotSnapshot, SlotState
from provider.engine.timers import can_meet_deadline, overdue

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
    ) -> None:
        self.model = model
        self.crashed = False
        self.detaching = False
        self.waiting: deque[Row] = deque()
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._ended = ended
        self._lanes: dict[int, Lane] = {}
        self._faults = FaultLog(window_seconds=limits.fault_window, limit=limits.faults_to_crash)
        self._decode_tps = Average()
        self._prefill_tps = Average()
        self._step_prefill_tps = Average()
        self._steps = 0
        self._admits = 0
        self._first_tokens = 0
        self._last_step_at: float | None = None
        self._last_first_token_at: float | None = None
        self._last_used_at = clock()

    @property
    def has_rows(self) -> bool:
        """Whether a step would do anything."""
        return any(lane.rows for lane in self._lanes.values())

    @property
    def is_empty(self) -> bool:
        """Whether no request is waiting, running or paused."""
        return not self.waiting and not any(lane.rows or lane.paused for lane in self._lanes.values())

    @property
    def charged_tokens(self) -> int:
        """Tokens of all rectangles."""
        return sum(lane.charged_tokens for lane in self._lanes.values())

    @property
    def queued_tokens(self) -> int:
        """Charged tokens of the waiting rows, each on its own."""
        return sum(round_to_step(row.reserved) for row in self.waiting)

    def unused_bytes(self) -> int:
        """Reserved bytes that the caches have not taken from the allocator yet."""
        kv = self.model.kv_bytes_per_token
        held = sum(lane.cache_bytes for lane in self._lanes.values())
        rows = sum(len(lane.rows) + len(lane.paused) for lane in self._lanes.values())
        return max(0, self.charged_tokens * kv + rows * self.model.kv_bytes_per_row - held)

    def max_concurrency(self, now: float) -> int:
        """Rows that may run together now."""
        if not self.model.batchable:
            return 1
        return self._faults.cap(self._limits.max_concurrent, now)

    def budget_max(self, available_bytes: int, now: float) -> int:
        """Largest charged-token figure that may be in use, given the free bytes."""
        free = available_bytes // max(1, self.model.kv_bytes_per_token)
        return min(self.charged_tokens + free, self.max_concurrency(now) * round_to_step(self.model.context_tokens))

    def submit(self, row: Row, available_bytes: int, now: float, out: Outbox) -> None:
        """Queue a row, or end it at once when it can never run or the queue is full."""
        self._last_used_at = now
        refusal = self._refusal(row, available_bytes, now)
        if refusal is not None:
            self._end(row, FinishReason.ERROR, out, refusal)
        elif row.max_tokens == 0:
            self._end(row, FinishReason.LENGTH, out)
        else:
            self.waiting.append(row)

    def admit(self, available_bytes: int, out: Outbox) -> None:
        """Start waiting rows in arrival order as far as rows, memory and deadlines allow.

        A row that does not fit is overtaken by later ones until it has aged.
        """
        if not self.waiting:
            return
        now = self._clock()
        cap = self.max_concurrency(now)
        running = sum(len(lane.rows) + len(lane.paused) for lane in self._lanes.values())
        free = available_bytes
        blocked: deque[Row] = deque()
        while self.waiting and running < cap:
            row = self.waiting.popleft()
            if not can_meet_deadline(row, now, self._prefill_tps.value):
                self._end(row, FinishReason.ERROR, out, failures.failure(Cause.DEADLINE_UNREACHABLE))
                continue
            lane = self._lanes.get(lane_of(row.reserved))
            growth = lane.growth(row.reserved) if lane is not None else round_to_step(row.reserved)
            cost = growth * self.model.kv_bytes_per_token + self.model.kv_bytes_per_row
            fits = cost <= free or row.request.warm_up
            if not fits or (self._is_long(row) and any(self._is_long(other) for other in self._prefilling())):
                blocked.append(row)
                if now - row.submitted_at >= self._limits.aged_after:
                    break
                continue
            row.admitted_at = now
            self._admits += 1
            try:
                self._lane(row).start(row)
            except Exception as error:  # the library refuses a row before it changes anything, so only this row ends
                _log_fault(error)
                self._end(row, FinishReason.ERROR, out, failures.failure(Cause.ENGINE_ERROR))
                continue
            free -= cost
            running += 1
        self.waiting.extendleft(reversed(blocked))

    def resume_ready(self, out: Outbox) -> None:
        """Put paused rows back whose reader has caught up."""
        for key, lane in list(self._lanes.items()):
            for row in [row for row in lane.paused.values() if row.sink.window.may_resume]:
                now = self._clock()
                if row.paused_at is not None:
                    row.paused_seconds += now - row.paused_at
                row.paused_at = None
                row.last_token_at = now
                row.sink.window.paused = False
                try:
                    lane.resume(row)
                except Exception as error:  # the generator's state is unknown now
                    self._lose(key, row, error, out)
                    break

    def step(self, out: Outbox) -> None:
        """Run one step of every lane that has rows; a fault ends the rows of its lane only."""
        for key, lane in list(self._lanes.items()):
            if not lane.rows:
                continue
            try:
                result = lane.step(self._step_prefill_tps.value)
            except Exception as error:  # whatever the model code raises ends these rows and no others
                self._fault(key, error, out)
                continue
            self._take(key, lane, result, out)
            self._steps += 1

    def cancel(self, row: Row, out: Outbox) -> None:
        """End a row because its reader no longer wants it."""
        self._drop(row)
        self._end(row, FinishReason.CANCELLED, out)

    def sweep(self, out: Outbox) -> None:
        """End the rows whose time is over."""
        now = self._clock()
        for row in list(self._rows()):
            cause = overdue(row, now, self._limits, self._prefill_tps.value)
            if cause is not None:
                self._drop(row)
                self._end(row, FinishReason.ERROR, out, failures.failure(cause))

    def close(self) -> None:
        """Drop generators and caches; the slot must be empty."""
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self._backend.clear()

    def snapshot(self, available_bytes: int, now: float) -> SlotSnapshot:
        """Return the slot's figures."""
        rows = [row for lane in self._lanes.values() for row in lane.rows.values()]
        paused = [row for lane in self._lanes.values() for row in lane.paused.values()]
        started = rows + paused
        state = SlotState.CRASHED if self.crashed else SlotState.RUNNING if started else SlotState.IDLE
        return SlotSnapshot(
            model=self.model.model_id,
            state=state,
            running=len(started),
            waiting=len(self.waiting),
            paused=len(paused),
            max_concurrency=self.max_concurrency(now),
            active_tokens=sum(row.prompt_length + row.generated for row in started),
            max_tokens_potential=sum(row.reserved for row in started),
            budget_used=self.charged_tokens,
            budget_max=self.budget_max(available_bytes, now),
            queued_budget=self.queued_tokens,
            kv_bytes_per_token=self.model.kv_bytes_per_token,
            weight_bytes=self.model.weight_bytes,
            decode_tps=self._decode_tps.value,
            prefill_tps=self._prefill_tps.value,
            load_time_ms=self.model.load_time_ms,
            steps_executed=self._steps,
            admits=self._admits,
            first_tokens_emitted=self._first_tokens,
            last_step_at=self._last_step_at,
            last_first_token_at=self._last_first_token_at,
            last_used_at=self._last_used_at,
        )

    def _refusal(self, row: Row, available_bytes: int, now: float) -> Failure | None:
        context = self.model.context_tokens
        if self.crashed or self.detaching:
            return failures.failure(Cause.MODEL_UNAVAILABLE)
        if not row.prompt_length or not 0 <= min(row.request.prompt_tokens) <= max(row.request.prompt_tokens) < (
            self.model.logits_size
        ):
            return failures.failure(Cause.INVALID_REQUEST)
        if row.prompt_length >= context:
            return failures.exceeds_context(row.prompt_length, context)
        if row.max_tokens == 0 or row.request.warm_up:
            return None
        if len(self.waiting) >= self._limits.max_waiting:
            return failures.failure(Cause.QUEUE_FULL)
        charged = round_to_step(row.reserved)
        maximum = self.budget_max(available_bytes, now)
        if charged > maximum:
            return failures.exceeds_node_budget(charged, maximum)
        lane = self._lanes.get(lane_of(row.reserved))
        growth = lane.growth(row.reserved) if lane is not None else charged
        free = available_bytes // max(1, self.model.kv_bytes_per_token) - self.queued_tokens
        if growth > free:
            return failures.budget_exhausted(growth, max(0, free))
        return None

    def _take(self, key: int, lane: Lane, result: StepResult, out: Outbox) -> None:
        now = self._clock()
        self._last_step_at = now
        if result.prefill_speed is not None:
            self._step_prefill_tps.add(result.prefill_speed)
        rows = lane.rows
        for response in result.tokens:
            row = rows[response.uid]
            token = response.token
            if row.first_token_at is None:
                self._note_first_token(row, now)
            if (token == 0 or not row.generated % BROKEN_CHECK_EVERY) and self._backend.is_broken(response):
                lane.remove(row)
                self._end(row, FinishReason.ERROR, out, failures.failure(Cause.GENERATION_FAILURE))
                continue
            stopped = row.take(token, now, out)
            if response.finish_reason is not None:
                lane.ended(row)
                self._end(row, _REASONS[response.finish_reason], out)
            elif stopped:
                lane.remove(row)
                self._end(row, FinishReason.STOP, out)
            elif row.sink.window.is_full and not self._pause(key, lane, row, out):
                return

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
        self._lanes[key].ended(row)
        self._end(row, FinishReason.ERROR, out, failures.failure(Cause.ENGINE_ERROR))
        self._fault(key, error, out)

    def _note_first_token(self, row: Row, now: float) -> None:
        row.first_token_at = now
        self._first_tokens += 1
        self._last_first_token_at = now
        if row.admitted_at is not None and now > row.admitted_at:
            self._prefill_tps.add(row.prompt_length / (now - row.admitted_at))

    def _fault(self, key: int, error: Exception, out: Outbox) -> None:
        now = self._clock()
        _log_fault(error)
        self.crashed = self._faults.add(now, allocator=is_allocator_fault(error)) or self.crashed
        rows = [row for lane in (list(self._lanes) if self.crashed else [key]) for row in self._lanes.pop(lane).close()]
        if self.crashed:
            rows += self.waiting
            self.waiting.clear()
        for row in rows:
            self._end(row, FinishReason.ERROR, out, failures.failure(Cause.ENGINE_ERROR))
        self._backend.clear()

    def _drop(self, row: Row) -> None:
        """Take a live row out of queue or lane."""
        if row.admitted_at is None:
            self.waiting.remove(row)
        else:
            self._lane(row).remove(row)

    def _end(self, row: Row, reason: FinishReason, out: Outbox, refusal: Failure | None = None) -> None:
        row.finish(reason, out, failure=refusal)
        if row.generated > 1 and row.first_token_at is not None and row.last_token_at is not None:
            seconds = row.last_token_at - row.first_token_at - row.paused_seconds
            if seconds > 0:
                self._decode_tps.add((row.generated - 1) / seconds)
        self._last_used_at = self._clock()
        self._ended(row.number)

    def _lane(self, row: Row) -> Lane:
        key = lane_of(row.reserved)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self._backend, self._limits.max_concurrent)
        return lane

    def _rows(self) -> Iterator[Row]:
        yield from self.waiting
        for lane in self._lanes.values():
            yield from lane.rows.values()
            yield from lane.paused.values()

    def _prefilling(self) -> Iterator[Row]:
        return (row for lane in self._lanes.values() if lane.prefilling for row in lane.rows.values() if row.prefilling)

    def _is_long(self, row: Row) -> bool:
        chunk = chunk_tokens(self._step_prefill_tps.value, decoding=self.has_rows, rows=1)
        return row.prompt_length > 2 * chunk


def _log_fault(error: Exception) -> None:
    """Log kind and place of a fault; its text may hold anything."""
    frames = " ".join(f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:])
    logger.error("generator fault", extra={"fault": type(error).__name__, "frames": frames})
