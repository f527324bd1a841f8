"""Where a streamed answer leaves the relay: the provider's reader puts bytes in, the consumer's task writes them out.

While the consumer keeps up, the provider's pump writes its runs through the writer's spout without a word to Python,
and the reader writes everything else straight through; after a partial write the reader only appends, until the
consumer's task has drained everything.

Invariant: bytes leave in the order in which they were put: the spout is open only while nothing waits here.
Owner: the relay; `pump` runs in the consumer's own task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from protocol.api import sse
from server.answer.writer import MAX_WRITE_BYTES
from server.relay.chunk_queue import ChunkQueue, Put, QueueBounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from native import Spout
    from server.answer.writer import AnswerWriter

DIRECT_BYTES: Final = 256 * 1024
"""A larger put goes through the queue, which hands it over in slices."""

_QUEUED: Final = Put.QUEUED


class Outlet:
    """One answer's way out.

    `keep_alive` is what a silent stream gets: an event or comment that clients skip.
    `on_abandoned` is called once if the consumer's task ends before the answer does, `on_spout` when the consumer's
    side begins to write and the provider's pump may take part.
    """

    def __init__(
        self,
        bounds: QueueBounds,
        *,
        keep_alive_seconds: float,
        on_abandoned: Callable[[], None],
        on_spout: Callable[[Spout], None],
        keep_alive: bytes = sse.KEEP_ALIVE,
    ) -> None:
        self._queue = ChunkQueue(bounds)
        self._queue.attended = False
        self._keep_alive_seconds = keep_alive_seconds
        self._keep_alive = keep_alive
        self._on_abandoned = on_abandoned
        self._on_spout = on_spout
        self._spout: Spout | None = None
        self._direct: AnswerWriter | None = None
        self._wake = trio.Event()
        self._closed = False
        self._finished = False
        self._stopped = False
        self._moved_at = 0.0
        self.opened = False
        self._run_deltas = 0
        self._run_text_bytes = 0

    @property
    def run_deltas(self) -> int:
        """Spliced deltas so far, whoever wrote them."""
        return self._run_deltas + (self._spout.deltas if self._spout is not None else 0)

    @property
    def run_text_bytes(self) -> int:
        """UTF-8 bytes of their text."""
        return self._run_text_bytes + (self._spout.text_bytes if self._spout is not None else 0)

    @property
    def written_at(self) -> float:
        """When the pump last wrote a run itself; 0 before."""
        return self._spout.written_at if self._spout is not None else 0.0

    @property
    def spilling(self) -> bool:
        """True while chunks wait beyond the queue's bound."""
        return self._queue.spilling

    @property
    def spills(self) -> int:
        """How often chunks began to wait beyond the queue's bound."""
        return self._queue.spills

    def turn_over(self) -> None:
        """Note that the consumer's task had a turn since chunks began to spill."""
        self._queue.turn_over()

    def run(self, ready: bytes, deltas: int, text_bytes: int, now: float) -> Put:
        """Take spliced output and count it; the same as `put`, in one call because it is the hot path."""
        self._run_deltas += deltas
        self._run_text_bytes += text_bytes
        writer = self._direct
        if writer is not None and writer.idle and not self._queue.bytes and len(ready) <= DIRECT_BYTES:
            self._moved_at = now
            if not writer.write_now(ready) or len(ready) > MAX_WRITE_BYTES:
                self._wake.set()
            return _QUEUED
        return self.put(ready, deltas, now)

    def put(self, data: bytes, chunks: int, now: float) -> Put:
        """Take ready bytes from the reader; never blocks. Bytes for a consumer that is gone are dropped."""
        if self._closed:
            return _QUEUED
        writer = self._direct
        if writer is not None and writer.idle and not self._queue.bytes and len(data) <= DIRECT_BYTES:
            self._moved_at = now
            # What is more than one chunk shuts the spout, even when all of it left: the task opens it again.
            if not writer.write_now(data) or len(data) > MAX_WRITE_BYTES:
                self._wake.set()
            return _QUEUED
        self._shut_spout()
        result = self._queue.put(data, chunks)
        self._wake.set()
        return result

    def stuck(self) -> None:
        """Note that the pump's write was partial: the consumer's task goes on with it."""
        self._wake.set()

    def stop(self) -> None:
        """Let the pump write nothing more; what the reader puts is not affected."""
        self._stopped = True
        self._shut_spout()

    def finish(self, data: bytes) -> None:
        """Put the end of the answer behind everything else; the body ends properly after it."""
        if not self._closed and not self._finished:
            self._shut_spout()
            self._queue.force(data)
            self._finished = True
            self._wake.set()

    def close(self) -> None:
        """Drop what waits; nobody reads it any more."""
        self._closed = True
        self._direct = None
        self._shut_spout()
        self._queue.clear()

    async def pump(self, writer: AnswerWriter) -> None:
        """Write the answer until it is finished; runs in the task that owns the consumer's connection.

        Writes a comment after a while without bytes, so that proxies keep the connection. Raises ConsumerGone from the
        writer; however it ends before the answer does, `on_abandoned` is called.
        """
        self.opened = self._queue.attended = True
        self._moved_at = trio.current_time()
        self._direct = writer if writer.direct else None
        self._spout = writer.spout
        if self._spout is not None:
            self._on_spout(self._spout)
        try:
            await self._run(writer)
        finally:
            self._direct = None
            if not (self._finished and not self._queue):
                self.close()
                self._on_abandoned()

    async def _run(self, writer: AnswerWriter) -> None:
        while True:
            if not writer.idle or writer.closed:
                await writer.drain()
            self._wake = trio.Event()
            data = self._queue.take(MAX_WRITE_BYTES)
            if data:
                self._moved_at = trio.current_time()
                if writer.direct:
                    self._write_through(writer, data)
                else:
                    await writer.write(data)
                continue
            if self._finished:
                return
            await self._wait(writer)

    def _write_through(self, writer: AnswerWriter, data: bytes) -> None:
        """Hand all that waits to the kernel in one turn, until it takes no more; the queue's bound bounds this."""
        while data and writer.write_now(data):
            data = self._queue.take(MAX_WRITE_BYTES)

    async def _wait(self, writer: AnswerWriter) -> None:
        """Sleep until there is something to do, or until silence has lasted too long; the pump may write meanwhile."""
        if self._spout is not None and not self._stopped:
            self._spout.open()
        with trio.move_on_at(self._silent_until()):
            await self._wake.wait()
            return
        now = trio.current_time()
        if now >= self._silent_until():
            self._moved_at = now
            await writer.write(self._keep_alive)

    def _silent_until(self) -> float:
        return max(self._moved_at, self.written_at) + self._keep_alive_seconds

    def _shut_spout(self) -> None:
        if self._spout is not None:
            self._spout.shut()
