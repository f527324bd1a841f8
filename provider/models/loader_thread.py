"""The one thread that reads models, for the life of the slots.

The array library gives every thread that computes a stream of its own, and on a processor every stream a native thread,
and takes neither back. A thread for each load would leak both. It is joined at the end, because a thread inside that
library while the interpreter shuts down aborts the process.

Invariant: one call at a time; owned by the slot manager.
"""

import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

import trio

T = TypeVar("T")


class _Call(Generic[T]):
    """One function on its way to the thread and back."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.done = trio.Event()
        self.results: list[T] = []
        self.errors: list[BaseException] = []
        self._function = function
        self._token = trio.lowlevel.current_trio_token()

    def run(self) -> None:
        try:
            self.results.append(self._function())
        except BaseException as error:  # raised again in the caller
            self.errors.append(error)
        self._token.run_sync_soon(self.done.set)


class LoaderThread:
    """Made by ``async with LoaderThread.open()``; the thread starts with the first call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call[object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Leaving the block ends the thread and waits for it, cancelled or not."""
        loader = cls()
        try:
            yield loader
        finally:
            thread = loader._thread
            if thread is not None:
                loader._calls.put(None)
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(thread.join)

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` on the thread and return its result, or raise what it raised.

        Cancellation is ignored until the call has returned.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="loader", daemon=False)
            self._thread.start()
        call = _Call(function)
        self._calls.put(call)  # type: ignore[arg-type]
        with trio.CancelScope(shield=True):
            await call.done.wait()
        if call.errors:
            raise call.errors.pop()
        return call.results.pop()

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call.run()
            del call
