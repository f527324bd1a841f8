"""A scripted engine on trio alone, with the interface of `EngineFront`, for tests of everything above the engine."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import trio

from provider.engine import (
    Cause,
    Delta,
    EngineLimits,
    EngineSnapshot,
    Failure,
    Finished,
    FinishReason,
    Generation,
    GenerationRequest,
    Health,
    LoadedModel,
    SlotSnapshot,
    SlotState,
    Usage,
)
from provider.engine.reservation import round_to_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What one request gets: pieces of text, one token each, `delay` seconds (trio clock) before every piece.

    The run ends with `reason`; ERROR takes `failure`. `stop_sequence` is reported as given.
    """

    pieces: Sequence[str] = ("Hel", "lo")
    delay: float = 0.0
    reason: FinishReason = FinishReason.STOP
    stop_sequence: str | None = None
    failure: Failure | None = None


class FakeEngine:
    """Made by ``async with FakeEngine.open(script)``. Honours windows, cancellation, `max_tokens` and attachment.

    `requests` keeps every request; `fail_all` is an engine death; `state` of a model can be set for slot tests.
    """

    def __init__(
        self, script: Callable[[GenerationRequest], Script], limits: EngineLimits, nursery: trio.Nursery
    ) -> None:
        self.requests: list[GenerationRequest] = []
        self.health = Health.GOOD
        self.admission_open = True
        self.row_part = 1.0
        self.trims: list[float] = []
        self.attach_error: Exception | None = None
        self._script = script
        self._limits = limits
        self._nursery = nursery
        self._live: dict[int, tuple[Generation, GenerationRequest]] = {}
        self._scopes: dict[int, trio.CancelScope] = {}
        self._wakes: dict[int, trio.Event] = {}
        self._models: dict[str, LoadedModel] = {}
        self._states: dict[str, SlotState] = {}
        self._used_at: dict[str, float] = {}
        self._number = 0
        self._change = 0
        self._changed = trio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, script: Callable[[GenerationRequest], Script] | None = None, *, limits: EngineLimits | None = None
    ) -> AsyncIterator[Self]:
        """Run the engine; leaving ends all requests with ``engine_error``."""
        async with trio.open_nursery() as nursery:
            engine = cls(script or (lambda _: Script()), limits or EngineLimits(), nursery)
            try:
                yield engine
            finally:
                engine.fail_all()
                nursery.cancel_scope.cancel()

    def submit(self, request: GenerationRequest) -> Generation:
        self._number += 1
        self.requests.append(request)
        generation = Generation(
            self._number,
            prompt_tokens=len(request.prompt_tokens),
            window_events=self._limits.window_events,
            cancel=self._cancel,
            wake=self._wake,
        )
        cause = self._refusal(request)
        if cause is not None:
            generation.fail(Failure(cause, f"Refused: {cause.value}."))
            return generation
        self._live[self._number] = (generation, request)
        self._used_at[request.model] = trio.current_time()
        self._nursery.start_soon(self._run, generation, request)
        self._note_change()
        return generation

    async def attach_model(self, model: LoadedModel) -> None:
        await trio.lowlevel.checkpoint()
        if self.attach_error is not None:
            raise self.attach_error
        if model.model_id in self._models:
            raise ValueError(f"The model {model.model_id} is attached already; detach it first.")
        self._models[model.model_id] = model
        self._used_at[model.model_id] = trio.current_time()
        self._note_change()

    async def detach_model(self, model_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self._models.pop(model_id, None)
        self._states.pop(model_id, None)
        while any(request.model == model_id for _, request in self._live.values()):
            await self._changed.wait()
        self._note_change()

    def set_admission(self, *, is_open: bool) -> None:
        self.admission_open = is_open

    def trim_prefixes(self, keep: float) -> None:
        self.trims.append(keep)

    def limit_rows(self, part: float) -> None:
        self.row_part = part
        self._note_change()

    def snapshot(self) -> EngineSnapshot:
        return EngineSnapshot(
            version=self._change,
            change=self._change,
            at=trio.current_time(),
            slots=tuple(self._slot(model) for model in self._models.values()),
        )

    async def wait_change(self, seen: int) -> EngineSnapshot:
        while self._change == seen:
            await self._changed.wait()
        return self.snapshot()

    def set_state(self, model_id: str, state: SlotState) -> None:
        """Force the reported state of a model."""
        self._states[model_id] = state
        self._note_change()

    def fail_all(self, cause: Cause = Cause.ENGINE_ERROR) -> None:
        """End every live request with a failure, as when the engine thread dies."""
        for number, (generation, _) in list(self._live.items()):
            generation.fail(Failure(cause, f"Failed: {cause.value}."))
            scope = self._scopes.get(number)
            if scope is not None:
                scope.cancel()
            self._live.pop(number, None)
        self._note_change()

    @property
    def live(self) -> int:
        """Requests without a terminal event."""
        return len(self._live)

    def _refusal(self, request: GenerationRequest) -> Cause | None:
        model = self._models.get(request.model)
        if model is None:
            return Cause.MODEL_UNAVAILABLE
        if not self.admission_open and not request.warm_up:
            return Cause.CAPACITY_BUSY
        if len(request.prompt_tokens) >= model.context_tokens:
            return Cause.REQUEST_EXCEEDS_CONTEXT
        return None

    async def _run(self, generation: Generation, request: GenerationRequest) -> None:
        if generation.finished is not None:
            return
        number, script = generation.number, self._script(request)
        tokens = 0
        reason, failure, stop = script.reason, script.failure, script.stop_sequence
        with trio.CancelScope() as scope:
            self._scopes[number] = scope
            for piece in script.pieces:
                if tokens >= request.max_tokens:
                    reason, failure, stop = FinishReason.LENGTH, None, None
                    break
                await trio.sleep(script.delay)
                await self._wait_window(generation)
                tokens += 1
                generation.window.posted += 1
                generation.push(Delta(piece, 1))
        if scope.cancelled_caught:
            reason, failure, stop = FinishReason.CANCELLED, None, None
        elif reason is FinishReason.STOP:
            tokens += 1
        generation.push(Finished(reason, Usage(len(request.prompt_tokens), tokens), stop, failure))
        self._scopes.pop(number, None)
        self._live.pop(number, None)
        if request.model in self._used_at:
            self._used_at[request.model] = trio.current_time()
        self._note_change()

    async def _wait_window(self, generation: Generation) -> None:
        window = generation.window
        if not window.is_full:
            return
        window.paused = True
        with trio.move_on_after(self._limits.backpressure_timeout) as scope:
            while not window.may_resume:
                event = self._wakes[generation.number] = trio.Event()
                await event.wait()
        window.paused = False
        self._wakes.pop(generation.number, None)
        if scope.cancelled_caught:
            generation.fail(Failure(Cause.BACKPRESSURE_TIMEOUT, "The output was not read for too long."))

    def _cancel(self, number: int) -> None:
        scope = self._scopes.get(number)
        if scope is not None:
            scope.cancel()
        elif number in self._live:
            generation, request = self._live.pop(number)
            generation.push(Finished(FinishReason.CANCELLED, Usage(len(request.prompt_tokens), 0)))

    def _wake(self) -> None:
        for event in self._wakes.values():
            event.set()

    def _slot(self, model: LoadedModel) -> SlotSnapshot:
        rows = [request for _, request in self._live.values() if request.model == model.model_id]
        used = sum(round_to_step(len(row.prompt_tokens) + row.max_tokens) for row in rows)
        state = self._states.get(model.model_id, SlotState.RUNNING if rows else SlotState.IDLE)
        return SlotSnapshot(
            model=model.model_id,
            state=state,
            running=len(rows),
            waiting=0,
            paused=0,
            max_concurrency=max(1, int(self._limits.max_concurrent * self.row_part)),
            active_tokens=sum(len(row.prompt_tokens) for row in rows),
            max_tokens_potential=sum(len(row.prompt_tokens) + row.max_tokens for row in rows),
            budget_used=used,
            budget_max=self._limits.max_concurrent * model.context_tokens,
            queued_budget=0,
            kv_bytes_per_token=model.kv_bytes_per_token,
            weight_bytes=model.weight_bytes,
            decode_tps=None,
            prefill_tps=None,
            load_time_ms=model.load_time_ms,
            steps_executed=0,
            admits=len(self.requests),
            first_tokens_emitted=0,
            last_step_at=None,
            last_first_token_at=None,
            last_used_at=self._used_at[model.model_id],
        )

    def _note_change(self) -> None:
        self._change += 1
        self._changed.set()
        self._changed = trio.Event()


def finished_with(cause: Cause) -> Script:
    """A script that fails at once."""
    return Script(pieces=(), reason=FinishReason.ERROR, failure=Failure(cause, f"Failed: {cause.value}."))
