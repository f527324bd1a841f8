"""Waits with one limit: given up in time, not before, and not at all once they are over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.relay.patience import Patience, Wait

SECONDS = 10.0


class Given:
    """Remembers which wait was given up, and when."""

    def __init__(self) -> None:
        self.up: list[tuple[str, float]] = []

    def begin(self, patience: Patience, name: str) -> Wait:
        return patience.begin(lambda: self.up.append((name, trio.current_time())))


@asynccontextmanager
async def running() -> AsyncIterator[Patience]:
    patience = Patience(SECONDS, trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        await wait_all_tasks_blocked()
        yield patience
        nursery.cancel_scope.cancel()


async def test_each_wait_is_given_up_at_its_own_time(autojump_clock: MockClock) -> None:
    given = Given()
    async with running() as patience:
        for name in "abc":
            given.begin(patience, name)
            await trio.sleep(1)
        await trio.sleep(20)
        given.begin(patience, "late")
        await trio.sleep(9)
        assert [name for name, _ in given.up] == ["a", "b", "c"]
        await trio.sleep(2)
    assert given.up == [("a", 10.0), ("b", 11.0), ("c", 12.0), ("late", 33.0)]


async def test_a_wait_that_ended_is_not_given_up(autojump_clock: MockClock) -> None:
    given = Given()
    async with running() as patience:
        first, second = given.begin(patience, "first"), given.begin(patience, "second")
        await trio.sleep(1)
        assert first.end()
        await trio.sleep(20)
        assert not second.end()
    assert given.up == [("second", 10.0)]


async def test_the_end_of_everything_gives_up_what_is_left(autojump_clock: MockClock) -> None:
    given = Given()
    async with running() as patience:
        over = given.begin(patience, "over")
        left = given.begin(patience, "left")
        over.end()
        await trio.sleep(3)
    assert given.up == [("left", 3.0)]
    assert not left.end()


@pytest.mark.parametrize("ended", [True, False])
async def test_waits_that_are_over_are_not_kept(ended: bool, autojump_clock: MockClock) -> None:
    given = Given()
    async with running() as patience:
        for number in range(1000):
            wait = given.begin(patience, str(number))
            if ended:
                wait.end()
        if not ended:
            await trio.sleep(SECONDS + 1)
        given.begin(patience, "last")
        assert len(patience) == 1
