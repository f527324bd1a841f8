"""The task that runs the controllers: when it looks, and what it sends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from server.pool import PoolPolicy, PoolRunner
from server.pool.run import PRICES_WAIT
from server.pool.warm_pool import PoolRound
from server.registry.demand import Signal
from tests.unit.server.registry.fleet import Fleet


class Rounds:
    """Counts the rounds of a runner."""

    def __init__(self, runner: PoolRunner) -> None:
        self.times: list[float] = []
        inner = runner.round

        def noted(now: float) -> list[object]:
            self.times.append(now)
            return list(inner(now))

        runner.round = noted  # type: ignore[method-assign, assignment]


async def test_a_quiet_fleet_is_looked_at_every_ten_seconds(fleet: Fleet, autojump_clock: MockClock) -> None:
    runner = PoolRunner(fleet.registry, PoolPolicy())
    rounds = Rounds(runner)
    with trio.move_on_after(35):
        await runner.run()
    start = rounds.times[0]
    assert [round(one - start) for one in rounds.times] == [0, 10, 20, 30]


async def test_a_shortage_brings_the_next_round_forward_but_not_closer_than_a_second(
    fleet: Fleet, autojump_clock: MockClock
) -> None:
    runner = PoolRunner(fleet.registry, PoolPolicy())
    rounds = Rounds(runner)

    async def suffer() -> None:
        await trio.sleep(0.1)
        for _ in range(20):
            fleet.registry.demand.note("m", Signal.TTFT_MISS, trio.current_time())
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        nursery.start_soon(suffer)
        await trio.sleep(4)
        nursery.cancel_scope.cancel()
    gaps = [later - earlier for earlier, later in zip(rounds.times, rounds.times[1:], strict=False)]
    assert len(gaps) >= 2
    assert min(gaps) >= 1.0


async def test_an_interval_below_a_second_is_kept(fleet: Fleet, autojump_clock: MockClock) -> None:
    runner = PoolRunner(fleet.registry, PoolPolicy(interval=0.25))
    rounds = Rounds(runner)
    with trio.move_on_after(1.1):
        await runner.run()
    assert len(rounds.times) == 5


async def test_each_round_looks_at_the_prices_and_waits_for_them_a_second_at_most(
    fleet: Fleet, autojump_clock: MockClock
) -> None:
    answers: list[float] = [5.0]

    async def read_prices() -> Callable[[str], float]:
        if not answers:
            await trio.sleep_forever()
        price = answers.pop()
        return lambda _model: price

    runner = PoolRunner(fleet.registry, PoolPolicy(), read_prices)
    seen: list[tuple[float, float]] = []
    tick = runner.warm_pool.tick

    def noted(now: float, price: Callable[[str], float]) -> PoolRound:
        seen.append((now, price("m")))
        return tick(now, price)

    runner.warm_pool.tick = noted  # type: ignore[method-assign, assignment]
    start = trio.current_time()
    with trio.move_on_after(15):
        await runner.run()
    second = PoolPolicy().interval + PRICES_WAIT  # its prices never come: it goes on with those of the first
    assert seen == [(start, 5.0), (pytest.approx(start + second), 5.0)]
