"""Gives up waits that last too long: one task for all of them, since their limit is the same and hardly any needs it.

Invariant: waits stand in the order in which they began, and so in that of their ends.
Owner: the relay's own task runs it; requests begin and end their waits.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Wait:
    """One wait; `give_up` is called at `until` unless the wait is over by then."""

    __slots__ = ("_give_up", "until")

    def __init__(self, until: float, give_up: Callable[[], None]) -> None:
        self.until = until
        self._give_up: Callable[[], None] | None = give_up

    @property
    def over(self) -> bool:
        """It ended, or was given up."""
        return self._give_up is None

    def end(self) -> bool:
        """Note that what was waited for has come; False when the wait was given up before."""
        waited, self._give_up = self._give_up is not None, None
        return waited

    def give_up(self) -> None:
        """Wait no longer."""
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()


class Patience:
    """Waits of at most `seconds` of trio's clock; without `run` they have no end."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = clock
        self._waits: deque[Wait] = deque()
        self._begun = trio.Event()

    def __len__(self) -> int:
        return len(self._waits)

    def begin(self, give_up: Callable[[], None]) -> Wait:
        """Begin a wait; `give_up` is synchronous and raises nothing."""
        self._forget_ended()
        if not self._waits:
            self._begun.set()
        wait = Wait(self._now() + self._seconds, give_up)
        self._waits.append(wait)
        return wait

    async def run(self) -> None:
        """Give up what lasts too long, until cancelled; then everything that is left."""
        try:
            while True:
                while self._waits:
                    await trio.sleep_until(self._waits[0].until)
                    self._give_up(self._now())
                self._begun = trio.Event()
                await self._begun.wait()
        finally:
            self._give_up(math.inf)

    def _give_up(self, now: float) -> None:
        self._forget_ended()
        while self._waits and self._waits[0].until <= now:
            self._waits.popleft().give_up()

    def _forget_ended(self) -> None:
        while self._waits and self._waits[0].over:
            self._waits.popleft()
