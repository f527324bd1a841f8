"""Following the clock and the user in virtual time."""

from datetime import datetime, timedelta

import trio

from provider.schedule.keeper import ScheduleKeeper
from provider.schedule.user_idle import user_idle_seconds
from provider.schedule.windows import parse_schedule

MONDAY = datetime(2026, 11, 16)


class Clock:
    """Local time that moves with trio's clock, and can jump."""

    def __init__(self, start):
        self.start = start
        self.zero = None
        self.jumped = timedelta()

    def __call__(self):
        try:
            now = trio.current_time()
        except RuntimeError:
            now = 0.0
        self.zero = now if self.zero is None else self.zero
        return self.start + self.jumped + timedelta(seconds=now - self.zero)


async def test_it_opens_and_closes_on_the_minute(autojump_clock):
    clock = Clock(MONDAY + timedelta(hours=8, minutes=30))
    keeper = ScheduleKeeper(parse_schedule("mon 09:00-10:00"), now=clock)
    assert (keeper.is_open, keeper.state().mode) == (False, "scheduled-off")
    assert keeper.state().next_change_at == (MONDAY + timedelta(hours=9)).timestamp()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        began = trio.current_time()
        await keeper.wait_change()
        assert keeper.is_open
        assert abs(trio.current_time() - began - 1800) < 1
        await keeper.wait_change()
        assert abs(trio.current_time() - began - 5400) < 1
        nursery.cancel_scope.cancel()


async def test_a_clock_that_jumps_is_seen_within_a_minute(autojump_clock):
    clock = Clock(MONDAY)
    keeper = ScheduleKeeper(parse_schedule("mon 09:00-10:00"), now=clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.testing.wait_all_tasks_blocked()
        clock.jumped = timedelta(hours=9, minutes=15)
        began = trio.current_time()
        await keeper.wait_change()
        assert keeper.is_open
        assert trio.current_time() - began <= 60
        nursery.cancel_scope.cancel()


async def test_requests_wait_while_somebody_uses_the_machine(autojump_clock):
    idle = [1000.0]
    told = []
    keeper = ScheduleKeeper(
        (), only_when_idle=300, idle_seconds=lambda: idle[0], on_change=lambda: told.append(keeper.takes_requests)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(5)
        assert keeper.takes_requests
        idle[0] = 0.5
        await keeper.wait_change()
        assert (keeper.takes_requests, keeper.state().paused_for, keeper.is_open) == (False, "user_active", True)
        idle[0] = None
        await keeper.wait_change()
        nursery.cancel_scope.cancel()
    assert told == [False, True]


def test_idle_time_from_recorded_tools():
    ioreg = '    | |   "HIDIdleTime" = 12500000000\n'
    assert user_idle_seconds(platform="darwin", run=lambda command: ioreg) == 12.5
    assert user_idle_seconds(platform="darwin", run=lambda command: "") is None
    x11 = {"xprintidle": "4200\n"}
    assert user_idle_seconds(platform="linux", run=lambda command: x11.get(command[0], "")) == 4.2
    hint = "IdleHint=yes\nIdleSinceHint=1795280000000000\n"
    logind = {"loginctl": hint}
    found = user_idle_seconds(
        platform="linux", run=lambda command: logind.get(command[0], ""), wall_clock=lambda: 1795280090.0
    )
    assert found == 90
    busy = {"loginctl": "IdleHint=no\nIdleSinceHint=0\n"}
    assert user_idle_seconds(platform="linux", run=lambda command: busy.get(command[0], "")) == 0
    assert user_idle_seconds(platform="linux", run=lambda command: "") is None
