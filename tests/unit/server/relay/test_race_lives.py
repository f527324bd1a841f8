"""Random lives of requests that race: whatever both machines, the money and the consumer do, every account balances."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from server.pool import FleetHedging
from server.relay import Committed
from server.relay.hedge import HedgePolicy
from tests.conftest import FULL
from tests.unit.server.relay.relay_world import ROLE, STOP, Consumer, Served, delta, open_world
from tests.unit.server.relay.test_race import Purse, Watcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TIMES = {"accepted": 12.0, "preamble_extension": 3.0, "chunk_gap": 20.0, "park": 2.0}
MOMENTS = (0.0, 0.1, 1.0, 2.0, 2.5, 2.505, 2.51, 3.0, 4.0, 5.0, 6.0, 20.0)
LIVES = 400 if FULL else 100


def machine(random: Random, counts: dict[str, int]) -> Callable[[Served], Awaitable[None]]:
    """A machine that does one thing after a while; the moments collide often."""

    async def script(served: Served) -> None:
        if random.random() < 0.3:
            served.say(ROLE)
        await trio.sleep(random.choice(MOMENTS))
        step = random.choice(("answer", "answer", "answer", "error", "client", "capacity", "gone", "accept", "violate"))
        counts[step] = counts.get(step, 0) + 1
        match step:
            case "answer":
                served.say(delta(served.channel.session_id))
                await trio.sleep(random.choice((0.0, 0.5)))
                served.say(STOP)
                served.complete()
            case "error":
                served.error(status_code=500)
            case "client":
                served.error(status_code=400, failure_code="invalid_request")
            case "capacity":
                served.error(status_code=503, failure_code="capacity", error_reason="capacity_busy")
            case "gone":
                served.gone()
            case "violate":
                served.violate()
            case _:
                served.accept()

    return script


async def one_life(seed: int, counts: dict[str, int]) -> None:
    random, watcher = Random(seed), Watcher()
    purse = Purse(poor=random.random() < 0.1, slow=random.choice((0.0, 0.0, 0.01, 1.0)))
    async with open_world(times=TIMES, funds=purse, observer=watcher) as world:
        hedging = FleetHedging(world.registry, HedgePolicy(divisor=1))
        object.__setattr__(world.services, "hedging", hedging)
        channels = [world.provider(f"p{number}", machine(random, counts)) for number in range(random.randrange(2, 5))]
        for channel in channels:
            channel.send_delay = random.choice((0.0, 0.0, 0.0, 0.3))
        consumer, stream = Consumer(), random.random() < 0.7

        async def vanish() -> None:
            await trio.sleep(random.choice(MOMENTS))
            name = random.choice(channels).session_id
            world.registry.disconnect(name, trio.current_time(), graceful=False)
            for served in list(world.channels[name].pending.values()):
                served.gone()

        if random.random() < 0.2:
            world.nursery.start_soon(vanish)
        with trio.move_on_after(random.choice((500.0, 500.0, 500.0, *MOMENTS[1:]))):
            outcome = await world.relay.run(world.job(stream=stream))
            if isinstance(outcome, Committed):
                await outcome.produce(consumer)
        record = await world.settled()
        await trio.sleep(100)
        assert world.relay.active == 0
        assert world.reserved() == 0
        assert hedging.governor.active == 0
        assert watcher.verdicts.count("allow") <= 1
        assert len(watcher.won) <= watcher.verdicts.count("allow")
        sent = sum(len(channel.seen) for channel in channels)
        assert len([one for one in watcher.results if one != "unaffordable"]) <= record.attempts
        assert sent <= record.attempts
        for channel in channels:
            assert channel.pending == {}
            assert len(channel.cancels) == len(set(channel.cancels))
            assert all(served.shared.dead for served in channel.seen)
        if consumer.text:
            # Text of one machine alone, and that one is settled and paid.
            assert consumer.text == record.session_id
        if record.usage is not None:
            assert purse.paid is not None
            paid = next(one for one in channels if one.session_id == record.session_id)
            assert purse.paid.provider_key == purse.key_of(paid)
        counts["races"] = counts.get("races", 0) + len(watcher.won)
        counts["won"] = counts.get("won", 0) + sum(watcher.won)


@pytest.mark.parametrize("batch", range(3))
async def test_random_races(batch: int, autojump_clock: MockClock) -> None:
    counts: dict[str, int] = {}
    for seed in range(batch * LIVES, (batch + 1) * LIVES):
        await one_life(seed, counts)
    assert counts["races"] >= LIVES // 10
    assert counts["won"] >= 1
