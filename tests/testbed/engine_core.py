"""An engine core without its thread, with hands on clock, memory and script."""

from collections.abc import Callable

import msgspec

from provider.engine import Delta, EngineLimits, Finished, GenerationRequest, LoadedModel, SlotSnapshot
from provider.engine.core import Attach, EngineCore, Submit
from provider.engine.events import Cause, EngineEvent
from provider.engine.window import Window
from tests.testbed.byte_model import byte_model
from tests.testbed.scripted_backend import Faults, Script, ScriptedBackend, Work, count_up


class Sink:
    """Where a row's events go; `end` is its terminal event."""

    def __init__(self, size: int = 256) -> None:
        self.window = Window(size)
        self.events: list[EngineEvent] = []

    def push(self, event: EngineEvent) -> None:
        self.events.append(event)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def end(self) -> Finished | None:
        finished = [event for event in self.events if isinstance(event, Finished)]
        assert len(finished) <= 1
        assert not finished or self.events[-1] is finished[0]
        return msgspec.structs.replace(finished[0], queued_seconds=None) if finished else None

    @property
    def queued_seconds(self) -> float | None:
        """How long the row waited, which `end` leaves out."""
        return next(event.queued_seconds for event in self.events if isinstance(event, Finished))

    @property
    def cause(self) -> Cause:
        assert self.end is not None
        assert self.end.failure is not None
        return self.end.failure.cause


class FakeReply:
    """Stands for the reply of a command; compared by identity."""


class CoreBench:
    """Submits, turns and hands out events; `now` moves by hand, or by what `work` says that steps take."""

    def __init__(
        self,
        script: Script = count_up,
        *,
        headroom: int = 10**9,
        limits: EngineLimits | None = None,
        model: LoadedModel | None = None,
        work: Callable[[Work], float] | None = None,
    ) -> None:
        self.now = 1000.0
        self.free = headroom
        self.faults = Faults()
        self.backends: list[ScriptedBackend] = []
        self.steps: list[Work] = []
        """What every step of a generator did since this was last cleared."""
        self._script = script
        self.work = work
        """Seconds that a step takes; None: none."""
        self.core = EngineCore(
            limits=limits or EngineLimits(),
            headroom=lambda: self.free,
            make_backend=self._make_backend,
            clock=lambda: self.now,
        )
        self.number = 0
        self.attach(model or byte_model())

    def attach(self, model: LoadedModel) -> FakeReply:
        reply = FakeReply()
        self.core.apply(Attach(model, reply))  # type: ignore[arg-type]
        return reply

    def submit(
        self, prompt: str | tuple[int, ...] = "hi", *, window: int = 256, model: str = "bytes", **fields: object
    ) -> Sink:
        sink = Sink(window)
        self.number += 1
        tokens = tuple(prompt.encode()) if isinstance(prompt, str) else prompt
        request = GenerationRequest(model=model, prompt_tokens=tokens, **fields)  # type: ignore[arg-type]
        self.core.apply(Submit(self.number, request, sink))
        self.flush()
        return sink

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.core.turn()
            self.flush()

    def flush(self) -> None:
        for sink, event in self.core.outbox:
            sink.push(event)
        self.core.outbox.clear()

    @property
    def slot(self) -> SlotSnapshot:
        return self.core.snapshot.slots[0]

    def _make_backend(self, model: LoadedModel) -> ScriptedBackend:
        self.backends.append(ScriptedBackend(model, self._script, self.faults, note=self._note))
        return self.backends[-1]

    def _note(self, work: Work) -> None:
        self.steps.append(work)
        if self.work is not None:
            self.now += self.work(work)
