"""A thousand random lives of one request: whatever happens in whatever order, every account balances."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from server.pool import FleetHedging
from server.relay import Committed
from server.relay.hedge import HedgePolicy
from tests.unit.server.relay.relay_world import ROLE, Consumer, Served, delta, open_world

STEPS = (
    "role",
    "delta",
    "delta",
    "accept",
    "complete",
    "error",
    "capacity",
    "violate",
    "bad_text",
    "gone",
    "wait",
    "long",
)
TIMES = {
    "chunk_gap": 20.0,
    "accepted": 15.0,
    "preamble_extension": 4.0,
    "park": 3.0,
    "settle": 2.0,
    "answer_waits_for_settlement": 1.0,
    "head": 5.0,
}


def provider_script(random: Random) -> list[str]:
    return random.choices(STEPS, k=random.randrange(0, 9))


async def play(served: Served, steps: list[str], random: Random) -> None:
    for step in steps:
        match step:
            case "role":
                served.say(ROLE)
            case "delta":
                served.say(delta("x" * random.randrange(1, 4)))
            case "accept":
                served.accept()
            case "complete":
                served.complete()
            case "error":
                served.error(status_code=500)
            case "capacity":
                served.error(status_code=503)
            case "violate":
                served.violate()
            case "bad_text":
                served.bad_text()
            case "gone":
                served.gone()
            case "wait":
                await trio.sleep(random.random())
            case "long":
                await trio.sleep(random.choice([3, 6, 25]))


async def one_life(seed: int) -> None:
    random = Random(seed)
    async with open_world(times=TIMES, bounds={"chunks": 2, "spill_chunks": 1}) as world:
        if random.random() < 0.6:
            object.__setattr__(world.services, "hedging", FleetHedging(world.registry, HedgePolicy(divisor=1)))

        async def script(served: Served) -> None:
            await play(served, provider_script(random), random)

        channels = [
            world.provider(f"p{number}", script, cold=random.random() < 0.3, concurrency=random.choice([0, 1]))
            for number in range(random.randrange(1, 4))
        ]
        for channel in channels:
            channel.send_delay = random.choice([0.0, 0.0, 0.5, 8.0])
        world.ledger.delay = random.choice([0.0, 0.5, 5.0])
        job = world.job(stream=random.random() < 0.7)
        consumer = Consumer(direct=random.random() < 0.6, spouting=random.random() < 0.6)
        ended: list[object] = []

        async def consume() -> None:
            with trio.move_on_after(random.choice([0.0, 0.3, 2.0, 7.0, 500.0])):
                outcome = await world.relay.run(job)
                ended.append(outcome)
                if isinstance(outcome, Committed) and random.random() < 0.9:
                    await outcome.produce(consumer)

        async def stutter() -> None:
            for _ in range(random.randrange(3)):
                await trio.sleep(random.random())
                consumer.hold()
                await trio.sleep(random.choice([0.1, 0.4, 3.0]))
                consumer.resume()

        world.nursery.start_soon(stutter)
        await consume()
        if seed % 10:
            record = await world.settled()
            await trio.sleep(100)
    # With or without a shutdown in the middle:
    (record,) = world.ledger.records
    assert world.relay.active == 0
    assert world.reserved() == 0
    for channel in channels:
        assert channel.pending == {}
        assert len(channel.cancels) == len(set(channel.cancels))
        assert all(served.shared.dead for served in channel.seen)
    assert sum(len(channel.seen) for channel in channels) <= 8
    hedging = world.services.hedging
    assert hedging is None or hedging.governor.active == 0
    assert len(ended) <= 1
    assert (b"[DONE]" in consumer.data) <= (record.status == 200)
    if record.usage is not None:
        assert record.outcome.value in ("success", "partial_success")


@pytest.mark.parametrize("batch", range(20))
async def test_random_interleavings(batch: int, autojump_clock: MockClock) -> None:
    for seed in range(batch * 50, batch * 50 + 50):
        await one_life(seed)
