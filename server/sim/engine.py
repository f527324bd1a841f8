"""The truth of one machine: loads, prefill, decoding in a batch, memory for both.

Decoding streams share the machine: with n of them each runs at solo / (1 + c·(n − 1)). Prompts share it too, each gets
an equal part of the prefill speed, but only one long prompt is worked on at a time. Both take turns: while prompts are
prefilled, decoding crawls, and prompts take a little longer beside decoding streams.

All streams, and all prompts, slow down and speed up together, so one number for each, the work done so far per stream,
tells when every one of them ends: a change moves one timer, whatever the size of the batch.

Invariant: the tokens of running attempts never exceed the machine's memory for them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from protocol.failure import sanitise
from protocol.messages.from_provider import InferenceError
from server.registry.rates import ewma
from server.sim.shared import Shared
from server.sim.slots import ModelSlot, Residence, pool_bytes
from server.sim.work import Stage, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from protocol.failure import AttemptFailure
    from server.sim.catalog import SimModel
    from server.sim.fleet import MachineSpec
    from server.sim.kernel import Kernel, Timer

RATE_ALPHA: Final = 0.3
PREFILL_OVERHEAD: Final = 0.02
"""Seconds of work in a prompt of any length."""
LONG_SECONDS: Final = 0.5
"""A prompt with more work than this is a long one."""
BESIDE_PREFILL: Final = 0.15
"""Pace of decoding while prompts are prefilled: a decoding step between two chunks of a quarter of a second."""
BESIDE_DECODE: Final = 0.85
"""Pace of prefill beside decoding streams."""
MAX_MODELS: Final = 3
MAX_WAITING: Final = 64
PREFIXES_KEPT: Final = 64
LOAD_GB_PER_SECOND: Final = 2.0
LOAD_OVERHEAD: Final = 2.0


def _refusal(status: int, code: str, reason: str) -> AttemptFailure:
    return sanitise(InferenceError(status_code=status, failure_code=code, error_reason=reason))


BUSY: Final = _refusal(503, "capacity", "capacity_busy")
QUEUE_FULL: Final = _refusal(429, "capacity", "queue_full")
NO_BUDGET: Final = _refusal(503, "capacity", "token_budget_exhausted")
NO_LOAD: Final = _refusal(503, "capacity", "model_load")
DRAINING: Final = _refusal(503, "capacity", "draining")
BROKEN: Final = _refusal(500, "internal_failure", "")


class Engine:
    """One machine's engine; `changed` counts what a report would show.

    `speed` scales everything the machine computes (heat); `stalled` engines take work and never produce anything.
    """

    def __init__(
        self,
        kernel: Kernel,
        spec: MachineSpec,
        models: Mapping[str, SimModel],
        random: Random,
        *,
        on_loaded: Callable[[str, float, bool], None],
    ) -> None:
        self.spec = spec
        self.slots: dict[str, ModelSlot] = {}
        self.changed = 0
        self.stalled = False
        self.speed = 1.0
        self.served = 0
        self.tokens = 0
        self._busy_seconds = 0.0
        self.loads = 0
        self.thrashed = 0
        self.unused_loads = 0
        """Loads that ended with an eviction or unload before any request came."""
        self.prefix_hits = 0
        self.prefix_tries = 0
        self.wasted_tokens = 0
        """Read and generated for attempts that were cancelled."""
        self.lost_tokens = 0
        """The part of them that lost a race against another machine."""
        self._kernel = kernel
        self._models = models
        self._random = random
        self._on_loaded = on_loaded
        self._works: dict[str, Work] = {}
        self._prompts = Shared()
        self._streams = Shared()
        self._long: Work | None = None
        self._since = 0.0
        self._prompt_timer: Timer | None = None
        self._stream_timer: Timer | None = None
        self._loading: str | None = None
        self._load_timer: Timer | None = None
        self._load_queue: deque[str] = deque()
        self._evicted_at: dict[str, float] = {}
        self._prefixes: OrderedDict[str, None] = OrderedDict()
        for name in spec.warm:
            if name in models and self._make_room(name):
                self.slots[name] = ModelSlot(models[name], Residence.RESIDENT)

    # What reports read

    @property
    def pool(self) -> int:
        """Bytes for the tokens of all resident models."""
        return pool_bytes(self.spec.mem, (slot.model for slot in self.slots.values()))

    @property
    def used_bytes(self) -> int:
        """Bytes that running attempts have reserved."""
        return sum(slot.used * slot.model.kv_rate for slot in self.slots.values())

    @property
    def is_busy(self) -> bool:
        """Whether anything runs or waits here."""
        return bool(self._works)

    @property
    def _is_computing(self) -> bool:
        return bool(self._prompts.count or self._streams.count) and not self.stalled

    @property
    def busy_seconds(self) -> float:
        """How long the machine has computed anything, up to now."""
        return self._busy_seconds + (self._kernel.now - self._since if self._is_computing else 0.0)

    def budget_max(self, slot: ModelSlot) -> int:
        """Tokens that may be in use in a slot: what runs there, and what all memory that is left would hold."""
        return slot.used + max(0, self.pool - self.used_bytes) // slot.model.kv_rate

    # Requests

    def submit(self, work: Work) -> AttemptFailure | None:
        """Take an attempt, or say why not."""
        self._works[work.request_id] = work
        slot = self.slots.get(work.model)
        if slot is None:
            if not self.load(work.model):
                return self._drop(work, NO_LOAD)
            slot = self.slots[work.model]
        if slot.residence is Residence.LOADING:
            work.stage = Stage.LOADING
            slot.waiting.append(work)
            slot.queued += work.need
            self.changed += 1
            work.events.on_accepted()
            return None
        if len(slot.waiting) >= MAX_WAITING:
            return self._drop(work, QUEUE_FULL)
        if self._lacks(slot, work.need + slot.queued):
            return self._drop(work, NO_BUDGET)
        slot.waiting.append(work)
        slot.queued += work.need
        self.changed += 1
        self._admit(slot)
        return None

    def cancel(self, request_id: str) -> None:
        """Stop an attempt; unknown ids are ignored."""
        work = self._works.get(request_id)
        if work is None:
            return
        self._advance()
        wasted = 0
        if work.stage is Stage.PREFILL:
            wasted = int(work.prompt * (1 - self._prompts.left(work) / work.prefill_seconds))
        elif work.stage is Stage.DECODE:
            left = self._streams.left(work) * self.slots[work.model].model.speed
            work.produced = max(1, min(work.out, int(work.out - left)))
            wasted = work.prompt + work.produced
        self.wasted_tokens += wasted
        self.lost_tokens += wasted if work.lost else 0
        self._leave(work)

    def stop(self) -> None:
        """Forget everything that runs, waits or loads: the process ends or the machine sleeps. Weights stay."""
        self._advance()
        for timer in (self._prompt_timer, self._stream_timer, self._load_timer):
            if timer is not None:
                timer.cancel()
        self._prompt_timer = self._stream_timer = self._load_timer = None
        for work in self._works.values():
            work.stage = Stage.OVER
        self._works.clear()
        self._prompts.clear()
        self._streams.clear()
        self._long = None
        if self._loading is not None:
            self.slots.pop(self._loading, None)
        self._loading = None
        self._load_queue.clear()
        for slot in self.slots.values():
            slot.clear()
        self.changed += 1

    def forget_measurements(self) -> None:
        """Report no speeds until there are new ones."""
        for slot in self.slots.values():
            slot.decode_tps = slot.prefill_tps = None

    def restart(self) -> None:
        """Begin anew as a fresh process: nothing resident, nothing measured."""
        self.stop()
        self.slots.clear()
        self._prefixes.clear()
        self.served = self.tokens = 0

    # Loads

    def load(self, name: str) -> bool:
        """Begin to load a model, after another load if one is under way; False when it cannot fit beside what runs."""
        model = self._models.get(name)
        if model is None or name not in self.spec.models:
            return False
        if name in self.slots:
            return True
        if not self._make_room(name):
            return False
        self.slots[name] = ModelSlot(model, Residence.LOADING)
        self.loads += 1
        if self._kernel.now - self._evicted_at.get(name, -1e9) < 600.0:
            self.thrashed += 1
        self.changed += 1
        self._load_queue.append(name)
        self._next_load()
        return True

    def _next_load(self) -> None:
        if self._loading is not None or not self._load_queue:
            return
        self._loading = name = self._load_queue.popleft()
        seconds = LOAD_OVERHEAD + self._models[name].size_gb / LOAD_GB_PER_SECOND * self._random.uniform(0.8, 1.6)
        self._load_timer = self._kernel.after(seconds, self._loaded, name, seconds)

    def _loaded(self, name: str, seconds: float) -> None:
        slot = self.slots[name]
        slot.residence = Residence.RESIDENT
        slot.load_seconds = seconds
        slot.last_used = slot.loaded_at = self._kernel.now
        self._loading = self._load_timer = None
        self.changed += 1
        for work in slot.waiting:
            work.stage = Stage.WAITING
        self._admit(slot)
        self._on_loaded(name, seconds, True)
        self._next_load()

    def _make_room(self, name: str) -> bool:
        """Evict idle models, least recently used first, if that is enough for another one; else change nothing."""
        model = self._models[name]
        kept = dict(self.slots)
        idle = sorted((slot.last_used, other) for other, slot in self.slots.items() if slot.is_idle)
        evicted: list[str] = []
        while len(kept) >= MAX_MODELS or pool_bytes(self.spec.mem, [*_models(kept), model]) < 2**30:
            if not idle:
                return False
            _, other = idle.pop(0)
            del kept[other]
            evicted.append(other)
        if self.used_bytes > pool_bytes(self.spec.mem, [*_models(kept), model]):
            return False
        for other in evicted:
            self._unload(other)
            self._evicted_at[other] = self._kernel.now
        return True

    def unload_idle(self) -> None:
        """Let go of models that nobody used for as long as the owner allows."""
        timeout, now = self.spec.idle_timeout, self._kernel.now
        for name, slot in tuple(self.slots.items()):
            if timeout and slot.is_idle and now - slot.last_used >= timeout:
                self._unload(name)
                self.changed += 1

    def _unload(self, name: str) -> None:
        self.unused_loads += self.slots.pop(name).is_unused

    # The batch

    def _lacks(self, slot: ModelSlot, tokens: int) -> bool:
        return tokens * slot.model.kv_rate > self.pool - self.used_bytes

    def _admit(self, slot: ModelSlot) -> None:
        """Begin what waits, in order: a second long prompt is passed over, one without memory holds up the rest."""
        if slot.residence is not Residence.RESIDENT:
            return
        for work in tuple(slot.waiting):
            if slot.running >= self.spec.concurrency or self._lacks(slot, work.need):
                break
            seconds = self._prefill_seconds(work, slot)
            if seconds > LONG_SECONDS and self.spec.contention:
                if self._long is not None:
                    continue
                self._long = work
            slot.waiting.remove(work)
            slot.queued -= work.need
            slot.used += work.need
            slot.running += 1
            slot.last_used = self._kernel.now
            work.stage = Stage.PREFILL
            self._advance()
            work.prefill_seconds = self.spec.delay + seconds
            self._prompts.add(work, work.prefill_seconds)
        self._repace()

    def _prefill_seconds(self, work: Work, slot: ModelSlot) -> float:
        """Work of a prompt, in seconds of this machine alone at its ordinary speed."""
        solo = self.spec.prefill * self.spec.honesty * slot.model.speed
        work.cached = work.prefix_tokens if work.prefix in self._prefixes else 0
        return PREFILL_OVERHEAD + (work.prompt - work.cached) / solo

    def _remember(self, work: Work) -> None:
        """Keep the prompt's conversation, and count whether it was known."""
        if work.prefix is None:
            return
        if work.prefix_tokens:
            self.prefix_tries += 1
            self.prefix_hits += work.prefix in self._prefixes
        self._prefixes[work.prefix] = None
        self._prefixes.move_to_end(work.prefix)
        while len(self._prefixes) > PREFIXES_KEPT:
            self._prefixes.popitem(last=False)

    def _prompt_ends(self) -> None:
        self._advance()
        work = self._prompts.pop()
        slot = self.slots[work.model]
        if work.prompt >= 64 and not work.prefix_tokens:
            spec = self.spec
            beside = BESIDE_DECODE if self._streams.count else 1.0
            slot.prefill_tps = ewma(
                slot.prefill_tps, spec.prefill * spec.honesty * self.speed * slot.model.speed * beside, RATE_ALPHA
            )
        self._remember(work)
        work.stage = Stage.DECODE
        work.decode_since = self._kernel.now
        self._streams.add(work, (work.out - 1) / slot.model.speed)
        self.changed += 1
        work.events.on_content()
        self._next_long(work)
        self._repace()

    def _stream_ends(self) -> None:
        self._advance()
        work = self._streams.first
        slot = self.slots[work.model]
        seconds = self._kernel.now - work.decode_since
        if work.out >= 8 and seconds > 0:
            slot.decode_tps = ewma(slot.decode_tps, (work.out - 1) / seconds, RATE_ALPHA)
        self.served += 1
        work.produced = work.out
        self._leave(work)
        work.events.on_complete(work.out)

    def _next_long(self, work: Work) -> None:
        """After a long prompt the next one may begin."""
        if self._long is work:
            self._long = None
            for slot in self.slots.values():
                self._admit(slot)

    def _advance(self) -> None:
        """Account for the work that was done since the last change."""
        seconds = self._kernel.now - self._since
        self._since = self._kernel.now
        if seconds > 0 and self._is_computing:
            self._prompts.advance(seconds)
            self._streams.advance(seconds)
            self._busy_seconds += seconds

    def _repace(self) -> None:
        """Find both paces as they are now, and when the next prompt and the next stream end."""
        spec, prompts, streams = self.spec, self._prompts, self._streams
        speed = 0.0 if self.stalled else self.speed
        prompts.pace = streams.pace = 0.0
        if not spec.contention:
            prompts.pace, streams.pace = speed, spec.decode * spec.honesty * speed
            self._plan_ends()
            return
        if prompts.count:
            prompts.pace = speed * (BESIDE_DECODE if streams.count else 1.0) / prompts.count
        if streams.count:
            crowd = 1 + spec.batch_slowdown * (streams.count - 1)
            streams.pace = spec.decode * spec.honesty * speed / crowd * (BESIDE_PREFILL if prompts.count else 1.0)
        self._plan_ends()

    def _plan_ends(self) -> None:
        self._prompt_timer = self._replanned(self._prompt_timer, self._prompts.next_in(), self._prompt_ends)
        self._stream_timer = self._replanned(self._stream_timer, self._streams.next_in(), self._stream_ends)

    def _replanned(self, timer: Timer | None, seconds: float | None, call: Callable[[], None]) -> Timer | None:
        if timer is not None:
            timer.cancel()
        return None if seconds is None else self._kernel.after(seconds, call)

    def _leave(self, work: Work) -> None:
        """Take an attempt out, wherever it is, and let the next ones in."""
        self._advance()
        del self._works[work.request_id]
        slot = self.slots[work.model]
        stage, work.stage = work.stage, Stage.OVER
        self.tokens += work.produced
        self.changed += 1
        if stage in (Stage.LOADING, Stage.WAITING):
            slot.waiting.remove(work)
            slot.queued -= work.need
        else:
            slot.used -= work.need
            slot.running -= 1
            slot.last_used = self._kernel.now
            (self._streams if stage is Stage.DECODE else self._prompts).remove(work)
            if self._long is work:
                self._long = None
            for other in self.slots.values():
                if other.waiting:
                    self._admit(other)
        self._repace()

    def _drop(self, work: Work, failure: AttemptFailure) -> AttemptFailure:
        del self._works[work.request_id]
        work.stage = Stage.OVER
        return failure

    def set_speed(self, speed: float) -> None:
        """Run faster or slower from now on: heat, or something else that uses the machine."""
        self._advance()
        self.speed = speed
        self._repace()

    def stall(self, stalled: bool) -> None:
        """Stop producing anything while taking work as before, or go on."""
        self._advance()
        self.stalled = stalled
        self._repace()


def _models(slots: Mapping[str, ModelSlot]) -> list[SimModel]:
    return [slot.model for slot in slots.values()]
