"""The way from the engine thread to trio.

Invariant: what was posted is delivered, in order, on the trio thread; while trio has not looked, it is not woken again.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import trio

from provider.engine.events import EngineEvent
from provider.engine.reply import Reply
from provider.engine.row import EventSink
from provider.engine.snapshot import EngineSnapshot

Events: TypeAlias = list[tuple[EventSink, EngineEvent]]
Replies: TypeAlias = list[tuple[Reply, BaseException | None]]
Deliver: TypeAlias = Callable[[Events, Replies, EngineSnapshot], None]


class Mailbox:
    """Made on the trio thread; `deliver` is called there once for each post."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._token = trio.lowlevel.current_trio_token()
        self._mail: deque[tuple[Events, Replies, EngineSnapshot]] = deque()
        self._is_woken = False

    def post(self, events: Events, replies: Replies, snapshot: EngineSnapshot) -> None:
        """Hand one turn's output over, from any thread; never blocks."""
        self._mail.append((events, replies, snapshot))
        if not self._is_woken:
            self._is_woken = True
            self._token.run_sync_soon(self._open)

    def _open(self) -> None:
        # Whoever posts after this line wakes this thread once more; what was posted before it is found below.
        self._is_woken = False
        while self._mail:
            self._deliver(*self._mail.popleft())
