"""The two-lane writer: the only code that sends on a provider socket after the upgrade.

Invariant: a frame that has started is sent whole or the connection is aborted; nothing else is sent in between.
Invariant: control goes before data, first in first out within a lane, without pre-empting the frame in progress.
Invariant: every submitted frame is reported exactly once: sent, failed, or withdrawn before it started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from server.link.transport import Transport, TransportLost
from server.ports import ChannelError, LaneFull, RequestWithdrawn, WriteFailed, WriterStopped, WriteTimeout

if TYPE_CHECKING:
    from server.link.meter import LinkMeter

LARGE_FRAME_BYTES = 1 << 20

Notify: TypeAlias = Callable[[ChannelError | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterLimits:
    """Bounds of one connection's writer: frames per lane, and the write deadline bytes/rate within [min, max]."""

    control_frames: int = 64
    data_frames: int = 128
    min_seconds: float = 5.0
    max_seconds: float = 30.0
    bytes_per_second: int = 2 << 20

    def deadline_seconds(self, size_bytes: int) -> float:
        """Return how long a frame of this size may take from its first byte to its last."""
        return min(max(size_bytes / self.bytes_per_second, self.min_seconds), self.max_seconds)


class Frame:
    """One encoded WebSocket frame on its way; `started` means that bytes of it may have left."""

    __slots__ = ("data", "error", "finished", "large", "notify", "started")

    def __init__(self, data: bytes, notify: Notify | None) -> None:
        """Hold the bytes until the frame is finished."""
        self.data = data
        self.large = len(data) > LARGE_FRAME_BYTES
        self.notify = notify
        self.started = False
        self.finished = False
        self.error: ChannelError | None = None

    def finish(self, error: ChannelError | None) -> None:
        """Drop the bytes and report the outcome once."""
        self.data = b""
        self.finished = True
        self.error = error
        notify, self.notify = self.notify, None
        if notify is not None:
            notify(error)


class TwoLaneWriter:
    """Two bounded queues in front of one socket.

    While nothing waits, a frame goes straight to the kernel without a task switch. Only what the kernel did not take
    is left to a task, which lives in the session's nursery until both lanes are empty again.
    """

    __slots__ = (
        "_close",
        "_control",
        "_current",
        "_data",
        "_draining",
        "_limits",
        "_meter",
        "_nursery",
        "_on_dead",
        "_pong",
        "_rest",
        "_stopped",
        "_transport",
        "cut",
    )

    def __init__(
        self,
        transport: Transport,
        nursery: trio.Nursery,
        limits: WriterLimits,
        meter: LinkMeter,
        on_dead: Callable[[], None],
    ) -> None:
        """Write to `transport`; `on_dead` is called once, when a write failed and the transport was aborted."""
        self._transport = transport
        self._nursery = nursery
        self._limits = limits
        self._meter = meter
        self._on_dead = on_dead
        self._control: deque[Frame] = deque()
        self._data: deque[Frame] = deque()
        self._pong: Frame | None = None
        self._close: Frame | None = None
        self._current: Frame | None = None
        self._rest: bytes | memoryview = b""
        self._draining = False
        self._stopped: str | None = None
        self.cut = False
        """Whether a frame was left torn: the connection can then only be reset."""

    def submit_control(self, data: bytes, notify: Notify | None = None) -> Frame:
        """Queue a frame on the control lane; raises `LaneFull` or `WriterStopped`."""
        self._refuse_if_stopped()
        if len(self._control) >= self._limits.control_frames:
            self._meter.count("lane_full_control")
            raise LaneFull(f"The control lane of this provider holds {len(self._control)} frames already; retry later.")
        return self._enter(self._control, Frame(data, notify))

    def submit_data(self, data: bytes, notify: Notify | None = None) -> Frame:
        """Queue a frame on the data lane; raises `LaneFull` or `WriterStopped`.

        A second waiting frame above 1 MiB is refused like a full lane: it would hold the wire for seconds.
        """
        self._refuse_if_stopped()
        if len(self._data) >= self._limits.data_frames:
            self._meter.count("lane_full_data")
            raise LaneFull(f"The data lane of this provider holds {len(self._data)} frames already; try another one.")
        frame = Frame(data, notify)
        if frame.large and any(waiting.large for waiting in self._data):
            self._meter.count("lane_full_large")
            raise LaneFull("A frame above 1 MiB waits already for this provider; try another one.")
        return self._enter(self._data, frame)

    async def finished(self, frame: Frame) -> None:
        """Return when the kernel has taken the whole frame, else raise its `ChannelError`.

        Cancelled while the frame is queued: it is withdrawn. Cancelled while it is being written: the write goes on
        and this call returns the real result. One task at most waits for a frame, and it takes the place of `notify`.
        """
        if not frame.finished:
            task = trio.lowlevel.current_task()
            frame.notify = lambda _error: trio.lowlevel.reschedule(task)

            def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
                return trio.lowlevel.Abort.SUCCEEDED if self._remove(frame) else trio.lowlevel.Abort.FAILED

            await trio.lowlevel.wait_task_rescheduled(give_up)
        if frame.error is not None:
            raise frame.error

    def withdraw(self, frame: Frame, why: str) -> bool:
        """Take back a frame that has not started; its submitter gets `RequestWithdrawn`."""
        if not self._remove(frame):
            return False
        frame.finish(RequestWithdrawn(why))
        return True

    def withdraw_data(self, why: str) -> None:
        """Take back every data frame that has not started."""
        frames = list(self._data)
        self._data.clear()
        for frame in frames:
            frame.finish(RequestWithdrawn(why))

    def pong(self, data: bytes) -> None:
        """Send this pong next; one that still waits is replaced, so that a flood of pings queues one frame."""
        if self._stopped is None:
            self._pong = Frame(data, None)
            self._kick()

    def close(self, data: bytes) -> None:
        """Send the close frame after the frame in progress and nothing after it; queued frames fail."""
        if self._stopped is not None:
            return
        self._stopped = "The connection to the provider is closing; try another one."
        self._pong = None
        self._fail_queued(WriterStopped, self._stopped)
        self._close = Frame(data, None)
        self._kick()

    def stop(self, why: str) -> None:
        """Refuse all further frames and fail those that wait or are being written."""
        if self._stopped is None:
            self._stopped = why
        self._fail_all(WriterStopped, why)

    def _refuse_if_stopped(self) -> None:
        if self._stopped is not None:
            raise WriterStopped(self._stopped)

    def _enter(self, lane: deque[Frame], frame: Frame) -> Frame:
        lane.append(frame)
        self._kick()
        return frame

    def _kick(self) -> None:
        """Send what waits while the kernel takes it at once; leave the rest to the drain task."""
        while not self._draining and (frame := self._peek()) is not None:
            try:
                sent = self._transport.send_now(frame.data)
            except TransportLost:
                self._drop(frame)
                self._current = frame
                self._die(WriteFailed, "The socket to the provider failed; try another one.")
                return
            if sent:
                self._drop(frame)
                frame.started = True
                if sent == len(frame.data):
                    frame.finish(None)
                    continue
                self._current = frame
                self._rest = memoryview(frame.data)[sent:]
            self._draining = True
            self._nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        try:
            while (frame := self._start_next()) is not None:
                size = len(frame.data)
                began = trio.current_time()
                try:
                    with trio.move_on_after(self._limits.deadline_seconds(size)) as scope:
                        await self._transport.send_all(self._rest)
                except TransportLost:
                    self._die(WriteFailed, "The socket to the provider failed; try another one.")
                    return
                if scope.cancelled_caught:
                    self._meter.count("write_deadline_abort")
                    self._die(WriteTimeout, f"The provider did not take {size} bytes in time; try another one.")
                    return
                self._meter.wire_time(size, trio.current_time() - began)
                self._current = None
                self._rest = b""
                if not frame.finished:
                    frame.finish(None)
        finally:
            self._draining = False
            if self._current is not None:
                # Cancelled in the middle of a frame: nothing may follow its torn half, and its sender must hear of it.
                self.stop("The connection to the provider is gone; try another one.")

    def _start_next(self) -> Frame | None:
        if self._current is None and (frame := self._peek()) is not None:
            self._drop(frame)
            frame.started = True
            self._current = frame
            self._rest = frame.data
        return self._current

    def _peek(self) -> Frame | None:
        if self._pong is not None:
            return self._pong
        if self._control:
            return self._control[0]
        if self._data:
            return self._data[0]
        return self._close

    def _drop(self, frame: Frame) -> None:
        if frame is self._pong:
            self._pong = None
        elif frame is self._close:
            self._close = None
        elif self._control:
            self._control.popleft()
        else:
            self._data.popleft()

    def _remove(self, frame: Frame) -> bool:
        for lane in (self._data, self._control):
            if frame in lane:
                lane.remove(frame)
                return True
        return False

    def _die(self, kind: type[ChannelError], why: str) -> None:
        """Abort the connection: every frame fails with the same error, later submits are refused."""
        if self._stopped is None:
            self._stopped = "The connection to the provider is gone; try another one."
        self._transport.abort()
        self._fail_all(kind, why)
        self._on_dead()

    def _fail_all(self, kind: type[ChannelError], why: str) -> None:
        current, self._current = self._current, None
        self._rest = b""
        self._pong = self._close = None
        if current is not None:
            self.cut = True
            current.finish(kind(why, frame_started=True))
        self._fail_queued(kind, why)

    def _fail_queued(self, kind: type[ChannelError], why: str) -> None:
        frames = [*self._control, *self._data]
        self._control.clear()
        self._data.clear()
        for frame in frames:
            frame.finish(kind(why))
