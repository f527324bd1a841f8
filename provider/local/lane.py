"""The frames of one local request: the request life cycle puts them in, the answer takes them out.

Invariant: never more than `LANE_FRAMES` chunks wait, if the writer asks for room; the rest waits in the engine.
"""

from collections import deque
from typing import Final

import trio

LANE_FRAMES: Final = 256


class LocalLane:
    """A `FrameLane` in memory. Trio thread only; one task takes."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._ready = trio.Event()
        self._roomy = trio.Event()
        self._is_hurried = False

    @property
    def owner(self) -> object:
        """A local request is a connection of its own."""
        return self

    def put(self, frame: bytes) -> None:
        """See `FrameLane`."""
        self._frames.append(frame)
        self._ready.set()

    async def room(self) -> None:
        """See `FrameLane`."""
        while len(self._frames) >= LANE_FRAMES and not self._is_hurried:
            self._roomy = trio.Event()
            await self._roomy.wait()

    def hurry(self) -> None:
        """See `FrameLane`."""
        self._is_hurried = True
        self._roomy.set()

    async def take(self) -> list[bytes]:
        """Wait for frames and give all that are there."""
        await self._ready.wait()
        self._ready = trio.Event()
        taken = list(self._frames)
        self._frames.clear()
        self._roomy.set()
        return taken
