"""The engine without its thread: commands in, one turn at a time, events and a snapshot out.

Invariant: everything here runs on one thread. Each submitted number leaves `live` when its terminal event is posted.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

from provider.engine import failures
from provider.engine.backend import Backend
from provider.engine.events import Cause, Finished, FinishReason, Usage
from provider.engine.limits import EngineLimits
from provider.engine.model import LoadedModel
from provider.engine.prefill import NO_PROMPTS, Pace
from provider.engine.prefixes import BUDGET_SHARE, PrefixStore
from provider.engine.reply import Reply
from provider.engine.request import GenerationRequest
from provider.engine.row import EventSink, Outbox, Row
from provider.engine.slot import Slot
from provider.engine.snapshot import EngineSnapshot

AVAILABLE_MAX_AGE_SECONDS = 0.5
"""How long a reading of free memory serves the published snapshot; admission always reads anew."""

IDLE_SWEEP_SECONDS = 60.0
"""How often stored prefixes are looked at while nothing runs."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Take a request under a number that was never used before."""

    number: int
    request: GenerationRequest
    sink: EventSink


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a request if it is still live."""

    number: int


@dataclass(frozen=True, slots=True)
class Wake:
    """A reader of a paused row has caught up."""


@dataclass(frozen=True, slots=True)
class Attach:
    """Serve a model; the reply carries None or the error."""

    model: LoadedModel
    reply: Reply


@dataclass(frozen=True, slots=True)
class Detach:
    """Stop serving a model once its requests have ended; the reply comes then."""

    model_id: str
    reply: Reply


@dataclass(frozen=True, slots=True)
class SetAdmission:
    """Open or close the engine for new requests (memory pressure)."""

    is_open: bool


@dataclass(frozen=True, slots=True)
class TrimPrefixes:
    """Drop stored prefixes until at most this share of their bytes is left."""

    keep: float


@dataclass(frozen=True, slots=True)
class LimitRows:
    """Let only this part of the usual rows run together (heat)."""

    part: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Leave the loop."""


Command = Submit | Cancel | Wake | Attach | Detach | SetAdmission | TrimPrefixes | LimitRows | Stop


class EngineCore:
    """All slots. `headroom` returns the free cache bytes of the process and may be called at any time.

    `first_snapshot` is what readers see until the first turn; its numbers go on from there.
    """

    def __init__(
        self,
        *,
        limits: EngineLimits,
        headroom: Callable[[], int],
        make_backend: Callable[[LoadedModel], Backend],
        clock: Callable[[], float] = time.monotonic,
        first_snapshot: EngineSnapshot | None = None,
    ) -> None:
        self.outbox: Outbox = []
        self.replies: list[tuple[Reply, BaseException | None]] = []
        self.snapshot = first_snapshot or EngineSnapshot()
        self.stopped = False
        self._limits = limits
        self._headroom = headroom
        self._make_backend = make_backend
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._prefixes = PrefixStore()
        self._live: dict[int, tuple[Slot, Row]] = {}
        self._detaching: dict[str, list[Reply]] = {}
        self._admission_open = True
        self._row_part = 1.0
        self._swept_at = clock()
        self._available = 0
        self._available_at = float("-inf")
        self._shape: object = None
        self._past_faults = self.snapshot.faults

    @property
    def has_rows(self) -> bool:
        """Whether a turn would compute anything."""
        return any(slot.rows.is_stepping or slot.has_unstored for slot in self._slots.values())

    @property
    def is_steady(self) -> bool:
        """Whether the next turn surely is one more decode step like the last: nothing waits, prefills or just began."""
        return self.has_rows and all(slot.is_steady for slot in self._slots.values())

    @property
    def wait_seconds(self) -> float | None:
        """How long the thread may block for a command: for ever when it keeps nothing, else until the next sweep."""
        if self._live:
            return self._limits.sweep_interval
        return IDLE_SWEEP_SECONDS if len(self._prefixes) else None

    def apply(self, command: Command) -> None:
        """Carry out one command."""
        match command:
            case Submit():
                self._submit(command)
            case Cancel(number):
                live = self._live.get(number)
                if live is not None:
                    live[0].cancel(live[1], self.outbox)
            case Attach(model, reply):
                self._attach(model, reply)
            case Detach(model_id, reply):
                self._begin_detach(model_id, reply)
            case SetAdmission(is_open):
                self._admission_open = is_open
                if not is_open:
                    self._prefixes.shrink(0)
            case TrimPrefixes(keep):
                self._prefixes.shrink(int(self._prefixes.bytes * keep))
            case LimitRows(part):
                self._row_part = part
                for slot in self._slots.values():
                    slot.row_part = part
            case Wake():
                pass
            case Stop():
                self.stopped = True

    def turn(self) -> None:
        """Resume, admit, run one step of every slot, and let the timers speak."""
        slots = list(self._slots.values())
        for slot in slots:
            if slot.has_unstored:
                slot.store_finished()
            slot.resume_ready(self.outbox)
            if slot.rows.waiting:
                slot.admit(self._measure(), self.outbox)
        pace = self._pace()
        for slot in slots:
            slot.step(pace, self.outbox)
            if slot.rows.waiting and not slot.rows.is_stepping:
                slot.admit(self._measure(), self.outbox)
        now = self._clock()
        if now - self._swept_at >= self._limits.sweep_interval:
            self._swept_at = now
            for slot in slots:
                slot.sweep(self.outbox)
            self._prefixes.forget_idle(now)
        if self._detaching:
            self._finish_detach()
        self._publish(now)

    def _pace(self) -> Pace:
        """What the prompts of this turn have to share, and with whom."""
        generators = 0
        for slot in self._slots.values():
            generators += slot.rows.prefilling_lanes
        if not generators:
            return NO_PROMPTS
        return Pace(any(slot.rows.is_decoding for slot in self._slots.values()), generators)

    def _submit(self, command: Submit) -> None:
        request = command.request
        slot = self._slots.get(request.model)
        cause = None if slot is not None else Cause.MODEL_UNAVAILABLE
        if slot is None or not (self._admission_open or request.warm_up):
            usage = Usage(len(request.prompt_tokens), 0)
            refusal = failures.failure(cause or Cause.CAPACITY_BUSY)
            self.outbox.append((command.sink, Finished(FinishReason.ERROR, usage, None, refusal)))
            return
        now = self._clock()
        room = max(0, slot.model.context_tokens - len(request.prompt_tokens))
        row = Row(
            command.number,
            request,
            command.sink,
            max_tokens=max(0, min(request.max_tokens, room)),
            vocabulary=slot.model.vocabulary,
            eos=slot.model.eos_ids,
            now=now,
        )
        self._live[command.number] = (slot, row)
        slot.submit(row, self._measure(), now, self.outbox)

    def _attach(self, model: LoadedModel, reply: Reply) -> None:
        if model.model_id in self._slots:
            error = ValueError(f"The model {model.model_id} is attached already; detach it first.")
            self.replies.append((reply, error))
            return
        try:
            backend = self._make_backend(model)
        except Exception as error:  # the loader's caller decides what an unusable model means
            self.replies.append((reply, error))
            return
        self._slots[model.model_id] = Slot(
            model,
            backend,
            limits=self._limits.of_model(model.model_id),
            clock=self._clock,
            ended=self._forget,
            prefixes=self._prefixes,
        )
        self._slots[model.model_id].row_part = self._row_part
        self.replies.append((reply, None))

    def _begin_detach(self, model_id: str, reply: Reply) -> None:
        slot = self._slots.get(model_id)
        if slot is None:
            self.replies.append((reply, None))
            return
        slot.detaching = True
        self._detaching.setdefault(model_id, []).append(reply)

    def _finish_detach(self) -> None:
        for model_id in [name for name in self._detaching if self._slots[name].rows.is_empty]:
            slot = self._slots.pop(model_id)
            self._past_faults += slot.faults
            slot.close()
            gc.collect()
            self.replies.extend((reply, None) for reply in self._detaching.pop(model_id))

    def _forget(self, number: int) -> None:
        self._live.pop(number, None)

    def _measure(self) -> int:
        """Bytes that new reservations may take: the headroom less what is promised but not allocated yet.

        Stored prefixes count as free, because they give way to rows; they may take what is left, up to their share.
        """
        promised = sum(slot.rows.unused_bytes() for slot in self._slots.values())
        free = max(0, self._headroom() + self._prefixes.bytes - promised)
        charged = sum(slot.rows.charged_bytes for slot in self._slots.values())
        self._prefixes.room = min(free, int(BUDGET_SHARE * (free + charged)))
        self._prefixes.shrink(self._prefixes.room)
        self._available = free
        self._available_at = self._clock()
        return free

    def _publish(self, now: float) -> None:
        shape = (
            self._admission_open,
            self._row_part,
            [
                (name, len(slot.rows.waiting), slot.rows.charged_tokens, slot.crashed)
                for name, slot in self._slots.items()
            ],
        )
        changed = shape != self._shape
        if self._slots and (changed or now - self._available_at >= AVAILABLE_MAX_AGE_SECONDS):
            self._measure()
        self._shape = shape
        last = self.snapshot
        self.snapshot = EngineSnapshot(
            version=last.version + 1,
            change=last.change + changed,
            at=now,
            faults=self._past_faults + sum(slot.faults for slot in self._slots.values()),
            slots=tuple(slot.snapshot(self._available, now) for slot in self._slots.values()),
        )
