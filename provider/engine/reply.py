"""The answer to a command that a trio task waits for."""

import trio


class Reply:
    """Resolved once on the trio thread; `wait` raises the error that it was resolved with."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._error: BaseException | None = None

    def resolve(self, error: BaseException | None) -> None:
        """Set the outcome; later calls are ignored."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    async def wait(self) -> None:
        """Wait for the outcome. Cancelling the wait does not undo the command."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
