"""Following the schedule and the user's presence while the daemon runs.

Invariant: the wall clock is looked at every minute at least, so a change of time zone, summer time or a sleep of the
machine is seen within one. Owner: the daemon's nursery.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import trio

from provider.schedule.windows import Schedule, is_active, next_change, show_schedule
from provider.status.record import ScheduleState

LOOK_SECONDS: Final = 60.0
IDLE_LOOK_SECONDS: Final = 10.0


def local_now() -> datetime:
    """The wall clock of this machine, without a zone."""
    return datetime.now()


class ScheduleKeeper:
    """Knows whether this machine serves now. `on_change` is called, on the trio thread, after every change.

    `idle_seconds` blocks; None from it means that nobody can tell, and then nobody is taken to be there.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        only_when_idle: float = 0.0,
        idle_seconds: Callable[[], float | None] = lambda: None,
        now: Callable[[], datetime] = local_now,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._schedule = schedule
        self._only_when_idle = only_when_idle
        self._idle_seconds = idle_seconds
        self._now = now
        self._on_change = on_change
        self._changed = trio.Event()
        self.is_open = is_active(schedule, now())
        self.is_user_active = False

    @property
    def takes_requests(self) -> bool:
        """Whether requests are taken: the window is open, and the user is away where that matters."""
        return self.is_open and not self.is_user_active

    def state(self) -> ScheduleState:
        """What displays show."""
        change = next_change(self._schedule, self._now())
        mode = "always" if not self._schedule else "scheduled-active" if self.is_open else "scheduled-off"
        return ScheduleState(
            mode=mode,
            summary=show_schedule(self._schedule) or "always available",
            next_change_at=None if change is None else change.timestamp(),
            paused_for="user_active" if self.is_user_active else "",
        )

    async def wait_change(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    async def run(self) -> None:
        """Look at clock and user until cancelled; returns at once where neither matters."""
        async with trio.open_nursery() as nursery:
            if self._schedule:
                nursery.start_soon(self._follow_clock)
            if self._only_when_idle > 0:
                nursery.start_soon(self._follow_user)

    async def _follow_clock(self) -> None:
        while True:
            now = self._now()
            self._note(is_open=is_active(self._schedule, now), is_user_active=self.is_user_active)
            change = next_change(self._schedule, now)
            pause = LOOK_SECONDS if change is None else (change - now).total_seconds()
            await trio.sleep(min(LOOK_SECONDS, max(0.05, pause)))

    async def _follow_user(self) -> None:
        while True:
            idle = await trio.to_thread.run_sync(self._idle_seconds, abandon_on_cancel=True)
            self._note(is_open=self.is_open, is_user_active=idle is not None and idle < self._only_when_idle)
            await trio.sleep(IDLE_LOOK_SECONDS)

    def _note(self, *, is_open: bool, is_user_active: bool) -> None:
        if (is_open, is_user_active) == (self.is_open, self.is_user_active):
            return
        self.is_open, self.is_user_active = is_open, is_user_active
        self._changed.set()
        self._changed = trio.Event()
        self._on_change()
