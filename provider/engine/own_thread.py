"""A call on a thread of its own that is joined before the caller goes on.

Trio's cached workers are daemon threads that still drop their references after they reported a result. A daemon thread
inside MLX while the interpreter shuts down aborts the process, so every thread that touches MLX is made here.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def run_in_own_thread(function: Callable[[], T], *, name: str) -> T:
    """Call `function` on a new thread and return its result, or raise what it raised.

    Cancellation is ignored until the call has returned and the thread has ended.
    """
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised again in the caller
            errors.append(error)
        token.run_sync_soon(done.set)

    thread = threading.Thread(target=body, name=name, daemon=False)
    thread.start()
    with trio.CancelScope(shield=True):
        await done.wait()
        await trio.to_thread.run_sync(thread.join)
    if errors:
        raise errors.pop()
    return results.pop()
