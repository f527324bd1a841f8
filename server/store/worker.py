"""Blocking calls on a connection run in a thread that is never left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import trio

T = TypeVar("T")

_INTERRUPT_EVERY_SECONDS: Final = 0.01


class Worker:
    """Runs the blocking calls of one connection; its owner makes one call at a time."""

    async def run(self, call: Callable[[], T], *, on_cancel: Callable[[], None] | None = None) -> T:
        """Run `call` in a thread and wait until it has ended, whatever happens.

        Without `on_cancel` a cancellation is delivered before the call or not at all. With it, a cancellation calls
        `on_cancel` until the call has ended (it must make it end soon), and is raised then.
        """
        # One limiter a call: the connection's owner is the limit, and waiting here could not be told from running.
        limiter = trio.CapacityLimiter(1)
        if on_cancel is None:
            return await trio.to_thread.run_sync(call, limiter=limiter)
        ended = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def observed() -> T:
            try:
                return call()
            finally:
                token.run_sync_soon(ended.set)

        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            return await trio.to_thread.run_sync(observed, limiter=limiter, abandon_on_cancel=True)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                while not ended.is_set():
                    # Again and again: the call may not have reached the database yet, and would not notice.
                    on_cancel()
                    with trio.move_on_after(_INTERRUPT_EVERY_SECONDS):
                        await ended.wait()
            raise
