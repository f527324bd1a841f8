"""The reader's end of one request on the trio side.

Invariant: exactly one `Finished` comes out, as the last event, whatever happens to the engine.
"""

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

from provider.engine.events import EngineEvent, Failure, Finished, FinishReason, Usage
from provider.engine.window import Window


class GenerationEnded(Exception):
    """The terminal event was read already; there is nothing more to wait for."""


class Generation:
    """Events of one request, in order, ending with one `Finished`. One task reads at a time.

    Use it as ``async with generation:`` and iterate, or call `receive_batch`. Leaving the block before the terminal
    event cancels the request. Reading frees the request's window; an unread request is paused, never dropped.
    """

    def __init__(
        self,
        number: int,
        *,
        prompt_tokens: int,
        window_events: int,
        cancel: Callable[[int], None],
        wake: Callable[[], None],
    ) -> None:
        self.number = number
        self.window = Window(window_events)
        self.finished: Finished | None = None
        self._prompt_tokens = prompt_tokens
        self._cancel = cancel
        self._wake = wake
        self._events: deque[EngineEvent] = deque()
        self._tokens = 0
        self._reader: trio.lowlevel.Task | None = None
        self._ended = False
        self._closed = False

    def push(self, event: EngineEvent) -> None:
        """Take an event (trio thread, engine side); anything after the terminal one is dropped."""
        if self.finished is not None:
            return
        if isinstance(event, Finished):
            self.finished = event
        else:
            self._tokens += event.tokens
        if self._closed:
            return
        self._events.append(event)
        if self._reader is not None:
            reader, self._reader = self._reader, None
            trio.lowlevel.reschedule(reader)

    def fail(self, failure: Failure) -> None:
        """End the request from the trio side, keeping what was delivered; no effect after the terminal event."""
        self.push(Finished(FinishReason.ERROR, Usage(self._prompt_tokens, self._tokens), None, failure))

    def cancel(self) -> None:
        """Ask the engine to end the request; the terminal event with the usage so far still comes."""
        if self.finished is None:
            self._cancel(self.number)

    def close(self) -> None:
        """Cancel if needed and drop unread events; idempotent."""
        self.cancel()
        self._closed = True
        self._ended = True
        self._events.clear()

    async def receive_batch(self) -> list[EngineEvent]:
        """Wait for at least one event and return all that are ready; the last batch ends with `Finished`.

        Raises `GenerationEnded` after it. Cancelling the wait loses nothing.
        """
        await self._wait()
        batch = list(self._events)
        self._events.clear()
        self._account(len(batch), batch[-1])
        return batch

    async def receive(self) -> EngineEvent:
        """Wait for the next event; raises `GenerationEnded` after the terminal one."""
        await self._wait()
        event = self._events.popleft()
        self._account(1, event)
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EngineEvent:
        try:
            return await self.receive()
        except GenerationEnded:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _wait(self) -> None:
        if self._ended:
            raise GenerationEnded
        if self._events:
            await trio.lowlevel.checkpoint()
            return
        if self._reader is not None:
            raise trio.BusyResourceError("Another task is reading this generation; one task may read at a time.")
        self._reader = trio.lowlevel.current_task()

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _account(self, count: int, last: EngineEvent) -> None:
        window = self.window
        if last is self.finished:
            self._ended = True
            return
        window.consumed += count
        if window.paused and window.may_resume:
            self._wake()
