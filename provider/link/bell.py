"""A bell that many may ring and one task hears; ringing while nobody listens is not lost."""

import trio


class Bell:
    """Trio thread only."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Say that something changed; never blocks."""
        self._rung.set()

    async def wait(self) -> None:
        """Wait until it was rung since the last `clear`."""
        await self._rung.wait()

    def clear(self) -> None:
        """Forget past rings; look at what changed after this, not before."""
        if self._rung.is_set():
            self._rung = trio.Event()
