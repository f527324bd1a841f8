"""Frames on their way out: a control lane before a data lane, first in first out within each.

Invariant: a frame leaves once; frames of one request leave in the order in which they were put, terminals included.
"""

from collections import deque
from typing import Final

import trio

CONTROL_FRAMES: Final = 256
REQUEST_FRAMES: Final = 256
BATCH_BYTES: Final = 256 * 1024
"""Most bytes of one write: a control frame never waits behind more."""


class ControlLaneFull(Exception):
    """The peer has not taken control frames for so long that the connection is worth nothing."""


class Outbox:
    """The queues of one connection. Trio thread only; one task takes.

    `unsent_requests` counts the lanes with frames: who asks and does not read makes it grow, and is to be left then.
    """

    def __init__(self) -> None:
        self._control: deque[bytes] = deque()
        self._data: deque[tuple[RequestLane, bytes]] = deque()
        self._ready = trio.Event()
        self._closed = False
        self.unsent_requests = 0

    def lane(self, owner: object) -> "RequestLane":
        """Make the lane of one request."""
        return RequestLane(self, owner)

    def put_control(self, frame: bytes) -> None:
        """Queue a frame ahead of all data; raises `ControlLaneFull`."""
        if self._closed:
            return
        if len(self._control) >= CONTROL_FRAMES:
            raise ControlLaneFull
        self._control.append(frame)
        self._ready.set()

    def put_data(self, lane: "RequestLane", frame: bytes) -> bool:
        """Queue a frame of a request; False when the connection is gone."""
        if self._closed:
            return False
        self._data.append((lane, frame))
        self._ready.set()
        return True

    async def take(self) -> list[bytes]:
        """Wait for frames; gives all that are ready, control first, up to `BATCH_BYTES` (one frame at least)."""
        await self._ready.wait()
        batch: list[bytes] = list(self._control)
        self._control.clear()
        size = sum(map(len, batch))
        while self._data and (size < BATCH_BYTES or not batch):
            lane, frame = self._data.popleft()
            lane.left()
            batch.append(frame)
            size += len(frame)
        if not self._data:
            self._ready = trio.Event()
        return batch

    def close(self) -> None:
        """Drop everything, now and from now on."""
        self._closed = True
        self._control.clear()
        data, self._data = self._data, deque()
        for lane, _frame in data:
            lane.left()


class RequestLane:
    """The frames of one request; more than `REQUEST_FRAMES` chunks never wait here if the writer asks for room."""

    __slots__ = ("_is_hurried", "_outbox", "_queued", "_roomy", "owner")

    def __init__(self, outbox: Outbox, owner: object) -> None:
        self.owner = owner
        self._outbox = outbox
        self._queued = 0
        self._is_hurried = False
        self._roomy: trio.Event | None = None

    @property
    def queued(self) -> int:
        """Frames that wait."""
        return self._queued

    def put(self, frame: bytes) -> None:
        """Queue a frame; dropped when the connection is gone."""
        if self._outbox.put_data(self, frame):
            self._queued += 1
            self._outbox.unsent_requests += self._queued == 1

    async def room(self) -> None:
        """Wait while the lane is full; without a checkpoint when it is not, or after `hurry`."""
        while self._queued >= REQUEST_FRAMES and not self._is_hurried:
            if self._roomy is None:
                self._roomy = trio.Event()
            await self._roomy.wait()

    def hurry(self) -> None:
        """Whoever waits for room goes on, now and from now on: the request ends, little more will come."""
        self._is_hurried = True
        if self._roomy is not None:
            self._roomy.set()
            self._roomy = None

    def left(self) -> None:
        """One frame was taken."""
        self._queued -= 1
        self._outbox.unsent_requests -= self._queued == 0
        if self._roomy is not None and self._queued <= REQUEST_FRAMES // 2:
            self._roomy.set()
            self._roomy = None
