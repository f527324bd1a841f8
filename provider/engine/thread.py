"""The loop of the engine thread: commands, one turn, one post to trio; it blocks when there is nothing to do."""

import queue
import time
from collections.abc import Callable

from provider.engine.core import Command, EngineCore
from provider.engine.events import EngineEvent
from provider.engine.reply import Reply
from provider.engine.row import EventSink
from provider.engine.snapshot import EngineSnapshot

Post = Callable[[list[tuple[EventSink, EngineEvent]], list[tuple[Reply, BaseException | None]], EngineSnapshot], None]


class Pulse:
    """Stamps that the watchdog reads from the trio thread; `step_started_at` is None while the thread waits."""

    __slots__ = ("last_step_at", "step_started_at")

    def __init__(self) -> None:
        self.step_started_at: float | None = None
        self.last_step_at: float | None = None


def run_engine(core: EngineCore, commands: "queue.SimpleQueue[Command]", post: Post, pulse: Pulse) -> None:
    """Serve commands until `Stop`; the one call of the engine thread.

    `post` is called at most once a turn, with all events of the turn, and must not block.
    """
    while True:
        if not core.has_rows:
            try:
                command = commands.get(timeout=core.wait_seconds)
            except queue.Empty:
                pass
            else:
                pulse.step_started_at = time.monotonic()
                core.apply(command)
        pulse.step_started_at = time.monotonic()
        while not commands.empty():
            core.apply(commands.get_nowait())
        if core.stopped:
            return
        change = core.snapshot.change
        core.turn()
        pulse.last_step_at = time.monotonic()
        if core.outbox or core.replies or core.snapshot.change != change:
            outbox, core.outbox = core.outbox, []
            replies, core.replies = core.replies, []
            post(outbox, replies, core.snapshot)
        pulse.step_started_at = None


def guard_engine(
    core: EngineCore, commands: "queue.SimpleQueue[Command]", post: Post, pulse: Pulse
) -> BaseException | None:
    """Call `run_engine` and return what it raised, of whatever kind: neither cancellation nor signals arise here."""
    try:
        run_engine(core, commands, post, pulse)
    except BaseException as error:  # the caller ends all requests and starts the thread again
        return error
    return None
