"""The loop of the engine thread: commands, one turn, a post to trio; it blocks when there is nothing to do."""

import queue
import time
from collections.abc import Callable

from provider.engine.core import Command, EngineCore
from provider.engine.mailbox import Events, Replies
from provider.engine.posting import Posting
from provider.engine.snapshot import EngineSnapshot

Post = Callable[[Events, Replies, EngineSnapshot], None]


class Pulse:
    """Stamps that the watchdog reads from the trio thread; `step_started_at` is None while the thread waits."""

    __slots__ = ("last_step_at", "step_started_at")

    def __init__(self) -> None:
        self.step_started_at: float | None = None
        self.last_step_at: float | None = None


def run_engine(core: EngineCore, commands: "queue.SimpleQueue[Command]", post: Post, pulse: Pulse) -> None:
    """Serve commands until `Stop`; the one call of the engine thread.

    `post` is called with all events since the last time, at most twice a turn, and must not block.
    """
    posting = Posting(core)

    def hand_over(now: float) -> None:
        outbox, core.outbox = core.outbox, []
        replies, core.replies = core.replies, []
        post(outbox, replies, core.snapshot)
        posting.note(core, now)

    while True:
        if not core.has_rows:
            try:
                command = commands.get(timeout=core.wait_seconds)
            except queue.Empty:
                pass
            else:
                pulse.step_started_at = time.monotonic()
                core.apply(command)
        pulse.step_started_at = began = time.monotonic()
        if core.outbox and not commands.empty():
            hand_over(began)  # a command may make this turn long: a prompt to process, a model to attach or to free
        while not commands.empty():
            core.apply(commands.get_nowait())
        if core.stopped:
            return
        core.turn()
        pulse.last_step_at = ended = time.monotonic()
        if posting.is_due(core, began, ended):
            hand_over(ended)
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
