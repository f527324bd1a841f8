"""A catalogue and download server in a thread of its own, because a command runs its own event loop."""

import threading
from contextlib import contextmanager

import trio

from tests.testbed.model_server import ModelServer


@contextmanager
def served():
    """A catalogue and download server in a thread of its own, because a command runs its own event loop."""
    ready, box = threading.Event(), {}

    async def main():
        async with ModelServer.open() as server:
            box.update(server=server, token=trio.lowlevel.current_trio_token(), stop=trio.Event())
            ready.set()
            await box["stop"].wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(10)
    try:
        yield box["server"]
    finally:
        box["token"].run_sync_soon(box["stop"].set)
        thread.join(10)
