"""The trio side of the engine: it owns the engine thread, hands requests over and delivers events.

Invariant: every live generation is in `_live`; whatever ends the engine thread ends each of them with one `Finished`.
"""

import itertools
import logging
import os
import queue
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

import msgspec
import trio

from provider.engine import failures
from provider.engine.backend import Backend
from provider.engine.core import (
    Attach,
    Cancel,
    Command,
    Detach,
    EngineCore,
    LimitRows,
    SetAdmission,
    Stop,
    Submit,
    TrimPrefixes,
    Wake,
)
from provider.engine.events import Cause, Finished
from provider.engine.generation import Generation
from provider.engine.limits import EngineLimits
from provider.engine.mailbox import Events, Mailbox, Replies
from provider.engine.model import LoadedModel
from provider.engine.own_thread import run_in_own_thread
from provider.engine.reply import Reply
from provider.engine.request import GenerationRequest
from provider.engine.snapshot import EngineSnapshot, SlotState
from provider.engine.thread import Pulse, guard_engine
from provider.engine.watchdog import Health, judge
from provider.observe.place import last_place

logger = logging.getLogger(__name__)

EXIT_ENGINE_LOST = 70
WATCHDOG_INTERVAL_SECONDS = 1.0


class EngineLost(Exception):
    """The engine thread ended while a command waited for its answer; load the model again."""


def exit_process(reason: str) -> None:
    """End the process at once, because a stuck device call cannot be interrupted; the supervisor restarts it."""
    logger.critical("engine lost", extra={"reason": reason})
    os._exit(EXIT_ENGINE_LOST)


def make_mlx_backend(model: LoadedModel) -> Backend:
    """Return the MLX backend of a model; called on the engine thread, where its streams are made."""
    from provider.engine.mlx_backend import MlxBackend

    return MlxBackend(model)


class EngineFront:
    """Made by ``async with EngineFront.open(headroom=...) as engine``; leaving ends all requests and the thread."""

    def __init__(
        self,
        *,
        limits: EngineLimits,
        headroom: Callable[[], int],
        make_backend: Callable[[LoadedModel], Backend],
        on_fatal: Callable[[str], None],
    ) -> None:
        self._limits = limits
        self._headroom = headroom
        self._make_backend = make_backend
        self._on_fatal = on_fatal
        self._numbers = itertools.count(1)
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._live: dict[int, Generation] = {}
        self._replies: set[Reply] = set()
        self._attached: dict[str, LoadedModel] = {}
        self._pulse = Pulse()
        self._delivered_change = 0
        self._own_changes = 0
        self._core = self._new_core(EngineSnapshot())
        self._changed = trio.Event()
        self._is_open = True
        self._row_part = 1.0
        self._stopping = False
        self._is_lost = False
        self._health = Health.GOOD
        self._mailbox = Mailbox(self._deliver)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        headroom: Callable[[], int],
        limits: EngineLimits | None = None,
        make_backend: Callable[[LoadedModel], Backend] = make_mlx_backend,
        on_fatal: Callable[[str], None] = exit_process,
    ) -> AsyncIterator[Self]:
        """Run an engine for the length of the block.

        `headroom` returns the bytes that caches may still take (allocator view, thread-safe). `on_fatal` is called when
        the thread cannot be saved: stuck for too long, or dead twice.
        """
        front = cls(limits=limits or EngineLimits(), headroom=headroom, make_backend=make_backend, on_fatal=on_fatal)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front._run)
            try:
                yield front
            finally:
                front._stop()

    @property
    def health(self) -> Health:
        """Verdict on the engine thread."""
        return self._health

    def submit(self, request: GenerationRequest) -> Generation:
        """Hand a request to the engine and return its event stream; never blocks.

        Every refusal (unknown model, full queue, too long, no memory) comes as the terminal event.
        """
        generation = Generation(
            next(self._numbers),
            prompt_tokens=len(request.prompt_tokens),
            window_events=self._limits.window_events,
            cancel=self._cancel,
            wake=self._wake,
        )
        if self._is_lost or self._stopping or self._health in (Health.CRASHED, Health.FATAL):
            generation.fail(failures.failure(Cause.WATCHDOG if self._health is not Health.GOOD else Cause.ENGINE_ERROR))
            return generation
        self._live[generation.number] = generation
        self._commands.put(Submit(generation.number, request, generation))
        return generation

    async def attach_model(self, model: LoadedModel) -> None:
        """Begin to serve a model. Raises ValueError if it is attached already, and what the backend raises."""
        await self._ask(lambda reply: Attach(model, reply))
        self._attached[model.model_id] = model

    async def detach_model(self, model_id: str) -> None:
        """Refuse new requests for a model, wait until its rows have ended, and free it; unknown ids are ignored."""
        self._attached.pop(model_id, None)
        await self._ask(lambda reply: Detach(model_id, reply))

    def set_admission(self, *, is_open: bool) -> None:
        """Open or close the engine for new requests, for example under memory pressure."""
        self._is_open = is_open
        self._commands.put(SetAdmission(is_open))

    def trim_prefixes(self, keep: float) -> None:
        """Forget stored prefixes until at most the share `keep` (0 to 1) of their bytes is left."""
        self._commands.put(TrimPrefixes(keep))

    def limit_rows(self, part: float) -> None:
        """Let only this part (0 to 1) of the usual rows run together, at least one; running rows go on."""
        self._row_part = part
        self._commands.put(LimitRows(part))

    def snapshot(self) -> EngineSnapshot:
        """Return the newest published view; a stuck engine's slots read ``crashed``.

        Its `change` counts what the thread published and what happened to the thread, so it never returns to a number.
        """
        published = self._core.snapshot
        if self._own_changes:
            published = msgspec.structs.replace(published, change=published.change + self._own_changes)
        if self._health is Health.GOOD or self._health is Health.WEDGE_SUSPECTED:
            return published
        return published.in_state(SlotState.CRASHED)

    async def wait_change(self, seen: int) -> EngineSnapshot:
        """Wait until the snapshot's `change` differs from `seen`: a row came or went, a state or budget moved."""
        while (snapshot := self.snapshot()).change == seen:
            await self._changed.wait()
        return snapshot

    def _new_core(self, first: EngineSnapshot) -> EngineCore:
        return EngineCore(
            limits=self._limits, headroom=self._headroom, make_backend=self._make_backend, first_snapshot=first
        )

    def _cancel(self, number: int) -> None:
        self._commands.put(Cancel(number))

    def _wake(self) -> None:
        self._commands.put(Wake())

    async def _ask(self, make: Callable[[Reply], Command]) -> None:
        if self._is_lost or self._stopping:
            raise EngineLost("The inference engine has stopped; restart the provider.")
        reply = Reply()
        self._replies.add(reply)
        self._commands.put(make(reply))
        await reply.wait()

    def _deliver(self, events: Events, replies: Replies, snapshot: EngineSnapshot) -> None:
        try:
            self._hand_out(events)
        except Exception as error:  # an exception here would end the whole process; which events are lost is unknown
            logger.error("engine events lost", extra={"fault": type(error).__name__, "place": last_place(error)})
            for number in self._live:
                self._cancel(number)
            self._fail_live(Cause.ENGINE_ERROR)
        for reply, outcome in replies:
            self._replies.discard(reply)
            reply.resolve(outcome)
        if snapshot.change != self._delivered_change:
            self._delivered_change = snapshot.change
            self._tell()

    def _hand_out(self, events: Events) -> None:
        live = self._live
        for sink, event in events:
            sink.push(event)
            if isinstance(event, Finished) and isinstance(sink, Generation):
                live.pop(sink.number, None)

    def _note_change(self) -> None:
        """Something happened to the thread that it could not publish itself."""
        self._own_changes += 1
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _run(self) -> None:
        """Keep thread and watchdog together to the end: a step that is stuck at the stop is judged like any other."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                await self._keep_thread()
                nursery.cancel_scope.cancel()

    async def _keep_thread(self) -> None:
        """Run the engine thread; when it dies, fail everything, and start it once more."""
        for attempt in (1, 2):
            body = partial(guard_engine, self._core, self._commands, self._mailbox.post, self._pulse)
            error = await run_in_own_thread(body, name="engine")
            if error is not None:
                logger.error(
                    "engine thread died",
                    extra={"fault": type(error).__name__, "place": last_place(error), "attempt": attempt},
                )
            if self._stopping:
                return
            self._fail_all(Cause.ENGINE_ERROR)
            if attempt == 1:
                self._restart()
        self._is_lost = True
        self._health = Health.FATAL
        self._note_change()
        self._on_fatal("the engine thread died twice")

    def _restart(self) -> None:
        self._commands = queue.SimpleQueue()
        self._pulse = Pulse()
        last = self._core.snapshot.in_state(SlotState.RELOADING)
        self._core = self._new_core(msgspec.structs.replace(last, faults=last.faults + 1))
        self._commands.put(SetAdmission(self._is_open))
        self._commands.put(LimitRows(self._row_part))
        for model in self._attached.values():
            self._commands.put(Attach(model, Reply()))
        self._note_change()

    def _fail_live(self, cause: Cause) -> None:
        live, self._live = self._live, {}
        for generation in live.values():
            generation.fail(failures.failure(cause))

    def _fail_all(self, cause: Cause) -> None:
        self._fail_live(cause)
        for reply in self._replies:
            reply.resolve(EngineLost("The inference engine failed while it was asked; load the model again."))
        self._replies.clear()

    async def _watch(self) -> None:
        """Judge the running step every second."""
        while True:
            await trio.sleep(WATCHDOG_INTERVAL_SECONDS)
            if self._is_lost:
                return
            health = judge(self._pulse.step_started_at, time.monotonic(), self._limits)
            if health is self._health:
                continue
            self._health = health
            logger.error("engine health", extra={"health": health.value})
            if health in (Health.CRASHED, Health.FATAL):
                for number in self._live:
                    self._cancel(number)
                self._fail_all(Cause.WATCHDOG)
            if health is Health.FATAL:
                self._on_fatal("one engine step took too long")
            self._note_change()

    def _stop(self) -> None:
        self._stopping = True
        self._fail_all(Cause.ENGINE_ERROR)
        self._commands.put(Stop())
