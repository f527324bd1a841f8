"""Draining: new inference is refused while what runs is finished.

Invariant: a request is counted before the flag is read, so no request is inside when `inflight` is 0 while draining.
"""

from __future__ import annotations

import trio


class Drain:
    """The flag, the number of inference requests inside, and waiting for the last of them."""

    def __init__(self) -> None:
        self.draining = False
        self.inflight = 0
        self._empty = trio.Event()

    def __repr__(self) -> str:
        return f"<Drain draining={self.draining} inflight={self.inflight}>"

    def set(self, *, draining: bool) -> None:
        """Start or stop refusing new requests; those inside run on."""
        self.draining = draining

    def enter(self) -> bool:
        """Count a request; False when it must be refused, and then it is not counted."""
        self.inflight += 1
        if self.draining:
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Count a request out; call it once for each `enter` that was granted."""
        self.inflight -= 1
        if self.inflight == 0:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Return when no request is inside."""
        while self.inflight:
            self._empty = trio.Event()
            await self._empty.wait()
        await trio.lowlevel.checkpoint()
