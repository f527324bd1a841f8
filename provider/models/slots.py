"""Resident models: loading on demand, eviction of idle ones, unloading.

Invariant: loads and unloads happen one at a time, under `_lock`. A pinned model is never evicted: pinning, choosing a
victim and taking it off `_resident` have no checkpoint between check and act.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import trio

from provider.engine import Engine, EngineLost, Finished, FinishReason, GenerationRequest, LoadedModel, SlotState
from provider.memory.gate import MemoryGate, MemoryPromise
from provider.memory.policy import padded_weights
from provider.models.in_use import SnapshotHold
from provider.models.load import LoadFailed
from provider.models.loader_thread import LoaderThread
from provider.models.pins import Pin, Pins
from provider.models.source import LoadRefused, ModelSource, load_from_source

log = logging.getLogger(__name__)

DEFAULT_MAX_SLOTS = 3
WARM_UP_TOKEN = 1

RELEASE_SECONDS = 10.0
"""How long the unwinding of a failed load may take."""


class _Load:
    """One load in progress, shared by everyone who asks for the model."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.model: LoadedModel | None = None
        self.refusal: LoadRefused | None = None


class SlotManager:
    """Made by ``async with SlotManager.open(...)``; leaving cancels loads in progress. Trio thread only."""

    def __init__(
        self,
        engine: Engine,
        gate: MemoryGate,
        locate: Callable[[str], ModelSource | None],
        *,
        max_slots: int,
        load: Callable[[ModelSource], LoadedModel],
        clock: Callable[[], float],
        nursery: trio.Nursery,
        loader: LoaderThread,
    ) -> None:
        self.last_load_error: str | None = None
        self.tests_loads = True
        """Whether a model computes one token before it is used."""
        self._engine = engine
        self._gate = gate
        self._locate = locate
        self._max_slots = max_slots
        self._load_source = load
        self._nursery = nursery
        self._loader = loader
        self._lock = trio.Lock()
        self._resident: dict[str, LoadedModel] = {}
        self._holds: dict[str, SnapshotHold] = {}
        self._loading: dict[str, _Load] = {}
        self._pins = Pins(clock, self._resident.__contains__)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        engine: Engine,
        gate: MemoryGate,
        locate: Callable[[str], ModelSource | None],
        *,
        max_slots: int = DEFAULT_MAX_SLOTS,
        load: Callable[[ModelSource], LoadedModel] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[Self]:
        """Manage at most `max_slots` models. `locate` finds a model on disk, `load` reads it on a worker thread."""
        async with LoaderThread.open() as loader, trio.open_nursery() as nursery:
            yield cls(
                engine,
                gate,
                locate,
                max_slots=max_slots,
                load=load or load_from_source,
                clock=clock,
                nursery=nursery,
                loader=loader,
            )
            nursery.cancel_scope.cancel()

    @property
    def resident(self) -> tuple[str, ...]:
        """Models that are loaded, least recently used first."""
        return tuple(sorted(self._resident, key=self._pins.last_use))

    @property
    def loading(self) -> tuple[str, ...]:
        """Models whose load was asked for and is not finished."""
        return tuple(self._loading)

    def get(self, model_id: str) -> LoadedModel | None:
        """Return a resident model that works, or None."""
        model = self._resident.get(model_id)
        return None if model is None or self._is_crashed(model_id) else model

    @property
    def takes_loads(self) -> bool:
        """Whether a load may be tried at all; not while the machine is short of memory."""
        return not self._gate.is_closed

    def pin(self, model_id: str) -> Pin:
        """Count a request for a model, loaded or not; its model stays until the pin is released."""
        return self._pins.pin(model_id)

    async def ensure_loaded(self, model_id: str) -> LoadedModel:
        """Return the resident model, loading it if needed; everyone who asks meanwhile joins the same load.

        Pin the model first. Raises `LoadRefused`. Cancelling the wait does not stop the load, which others may share.
        """
        model = self.get(model_id)
        if model is not None:
            await trio.lowlevel.checkpoint()
            return model
        load = self._loading.get(model_id)
        if load is None:
            load = self._loading[model_id] = _Load()
            self._nursery.start_soon(self._run_load, model_id, load)
        await load.done.wait()
        if load.refusal is not None:
            raise load.refusal
        assert load.model is not None
        return load.model

    async def unload(self, model_id: str) -> bool:
        """Unload a model that no request needs; False if it is pinned or not resident."""
        async with self._lock:
            if model_id not in self._resident or not self._is_idle(model_id):
                return False
            await self._release(model_id)
            return True

    async def unload_crashed(self) -> list[str]:
        """Unload the models that failed too often, so that the next request loads them anew; returns their ids."""
        crashed = [model_id for model_id in self.resident if self._is_crashed(model_id)]
        return [model_id for model_id in crashed if await self.unload(model_id)]

    def keep(self, model_id: str, seconds: float | None) -> None:
        """Let a resident model stay for so long after its last use; None: as long as any other. It may be evicted."""
        self._pins.keep(model_id, seconds)

    def idle_span(self, model_id: str, usual: float) -> float:
        """Seconds after its last use from which a model is unloaded."""
        return self._pins.span(model_id, usual)

    async def unload_idle(self, idle_seconds: float, *, heed_spans: bool = False) -> list[str]:
        """Unload the models that were last used at least `idle_seconds` ago; returns their ids.

        With `heed_spans`, what was said with `keep` counts instead, for the models for which it was said.
        """
        unloaded: list[str] = []
        for model_id in self.resident:
            async with self._lock:
                span = self._pins.span(model_id, idle_seconds) if heed_spans else idle_seconds
                old_enough = self._pins.idle_seconds(model_id) >= span
                if model_id in self._resident and old_enough and self._is_idle(model_id):
                    await self._release(model_id)
                    unloaded.append(model_id)
        return unloaded

    async def _run_load(self, model_id: str, load: _Load) -> None:
        try:
            async with self._lock:
                load.model = await self._load(model_id)
        except LoadRefused as refusal:
            self.last_load_error = str(refusal)
            load.refusal = refusal
        except EngineLost as error:
            load.refusal = LoadRefused("broken", str(error))
        finally:
            if load.model is None and load.refusal is None:
                load.refusal = LoadRefused("broken", "The provider is stopping; try another machine.")
            del self._loading[model_id]
            load.done.set()

    async def _load(self, model_id: str) -> LoadedModel:
        source = self._locate(model_id)
        if source is None:
            raise LoadRefused("unknown_model", f"The model {model_id} is not on this machine; download it first.")
        if model_id in self._resident:
            await self._release(model_id)
        await self._free_slot()
        promise = await self._promise(source)
        hold = SnapshotHold(source.directory)
        try:
            return await self._attach(source, promise, hold)
        finally:
            if self._holds.get(model_id) is not hold:
                hold.release()

    async def _attach(self, source: ModelSource, promise: MemoryPromise, hold: SnapshotHold) -> LoadedModel:
        """Read the model, give it to the engine and try it; the promise ends when its weights are in the allocator."""
        model_id = source.model_id
        try:
            model = await self._loader.run(partial(self._load_source, source))
        except LoadFailed as error:
            raise LoadRefused("broken", str(error)) from error
        except Exception as error:  # model code raises anything; a model that cannot be loaded must not end the daemon
            log.error("model loader failed", extra={"model": model_id, "fault": type(error).__name__})
            raise LoadRefused("broken", f"The model {model_id} cannot be loaded ({type(error).__name__}).") from error
        finally:
            promise.release()
        self._gate.limit_allocator()
        try:
            await self._engine.attach_model(model)
        except EngineLost:
            raise
        except Exception as error:
            raise LoadRefused("broken", f"The model {model_id} does not run here ({type(error).__name__}).") from error
        self._resident[model_id] = model
        self._holds[model_id] = hold
        self._pins.note_use(model_id)
        self._note_largest()
        ready = False
        try:
            await self._check_fresh(model)
            ready = True
        finally:
            if not ready:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + RELEASE_SECONDS):
                    await self._release(model_id)
        return model

    async def _check_fresh(self, model: LoadedModel) -> None:
        """Refuse a model that leaves no room for caches, then run one token through the real path."""
        if not self._gate.is_serveable():
            raise LoadRefused("memory", f"The model {model.model_id} leaves too little memory for requests; free some.")
        if not self.tests_loads:
            return
        request = GenerationRequest(model=model.model_id, prompt_tokens=(WARM_UP_TOKEN,), max_tokens=1, warm_up=True)
        async with self._engine.submit(request) as generation:
            async for event in generation:
                if isinstance(event, Finished) and event.reason is FinishReason.ERROR:
                    raise LoadRefused("broken", f"The model {model.model_id} failed its self-test; download it again.")

    async def _free_slot(self) -> None:
        """Evict the least recently used idle model while all slots are taken."""
        while len(self._resident) >= self._max_slots:
            victim = next((name for name in self.resident if self._is_idle(name)), None)
            if victim is None:
                raise LoadRefused("no_slot", f"Every model slot ({self._max_slots}) is busy; try again later.")
            await self._release(victim)

    async def _promise(self, source: ModelSource) -> MemoryPromise:
        """Set memory aside, evicting idle models only if that is sure to suffice."""
        padded = padded_weights(source.disk_bytes)
        promise = self._gate.try_promise(padded)
        if promise is None:
            idle = [name for name in self.resident if self._is_idle(name)]
            # Without busy models all that the allocator holds comes back, and that is what heartbeats promise.
            all_idle = len(idle) == len(self._resident)
            weights = sum(self._resident[name].weight_bytes for name in idle)
            reclaimable = self._gate.read().used if all_idle else weights
            if self._gate.may_load(padded, reclaimable=reclaimable):
                for name in idle:
                    if self._is_idle(name):
                        await self._release(name)
                    promise = self._gate.try_promise(padded)
                    if promise is not None:
                        return promise
            self._gate.clear_cache()
            promise = self._gate.try_promise(padded)
        if promise is None:
            raise LoadRefused(
                "memory",
                f"The model {source.model_id} needs about {padded / 2**30:.1f} GiB, which is not free; try later.",
            )
        return promise

    async def _release(self, model_id: str) -> None:
        """Take a model out of service and free it; the caller holds the lock."""
        del self._resident[model_id]
        hold = self._holds.pop(model_id)
        self._pins.forget(model_id)
        self._note_largest()
        try:
            await self._engine.detach_model(model_id)
        finally:
            hold.release()

    def _note_largest(self) -> None:
        self._gate.note_largest(max((model.weight_bytes for model in self._resident.values()), default=0))

    def _is_idle(self, model_id: str) -> bool:
        if self._pins.is_pinned(model_id):
            return False
        slot = self._engine.snapshot().slot(model_id)
        return slot is None or not (slot.running or slot.waiting)

    def _is_crashed(self, model_id: str) -> bool:
        slot = self._engine.snapshot().slot(model_id)
        return slot is None or slot.state is SlotState.CRASHED
