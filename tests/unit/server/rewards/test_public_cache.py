"""The cache of public answers: one computes, others wait, age is bounded, outages are bridged."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from server.rewards.public_cache import STALE_SECONDS, PublicCache
from server.store import StoreUnavailable


class Source:
    """Counts; fails while `down`; waits for `gate` when there is one."""

    def __init__(self) -> None:
        self.calls = 0
        self.down = False
        self.gate: trio.Event | None = None

    async def __call__(self) -> int:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise StoreUnavailable("away")
        return self.calls


@pytest.fixture
def cache(autojump_clock: MockClock) -> PublicCache[int]:
    return PublicCache(seconds=60, clock=trio.current_time)


async def test_a_value_is_good_for_its_time(cache: PublicCache[int], autojump_clock: MockClock) -> None:
    source = Source()
    assert [await cache.get("a", source) for _ in range(3)] == [1, 1, 1]
    await trio.sleep(59.9)
    assert await cache.get("a", source) == 1
    await trio.sleep(0.1)
    assert await cache.get("a", source) == 2
    assert await cache.get("b", source) == 3


async def test_of_many_that_ask_at_once_one_computes(cache: PublicCache[int], autojump_clock: MockClock) -> None:
    source, got = Source(), []
    source.gate = trio.Event()

    async def ask() -> None:
        got.append(await cache.get("a", source))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert source.calls == 1
        source.gate.set()
    assert got == [1] * 20


async def test_who_leaves_while_computing_leaves_it_to_the_next(
    cache: PublicCache[int], autojump_clock: MockClock
) -> None:
    source, got = Source(), []
    source.gate = trio.Event()

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            got.append(await cache.get("a", source))

    first, second = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, second)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        source.gate.set()
    assert (got, source.calls) == ([2], 2)


async def test_an_outage_is_bridged_for_a_while(cache: PublicCache[int], autojump_clock: MockClock) -> None:
    source = Source()
    source.down = True
    with pytest.raises(StoreUnavailable):
        await cache.get("a", source)
    source.down = False
    assert await cache.get("a", source) == 2
    source.down = True
    await trio.sleep(STALE_SECONDS)
    assert await cache.get("a", source) == 2
    await trio.sleep(1)
    with pytest.raises(StoreUnavailable):
        await cache.get("a", source)
