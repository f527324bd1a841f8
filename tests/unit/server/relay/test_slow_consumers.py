"""Consumers that read slowly: the grace, bursts, and what the pump wrote to them itself."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from server.relay import Outcome
from tests.unit.server.relay.relay_world import Consumer, Served, delta, open_world


async def crowded(pause: float, chunks: int, *, spouting: bool = True) -> tuple[Consumer, Any, Any]:
    """A consumer that stops reading for `pause` seconds while `chunks` chunks arrive."""

    async def pours(served: Served) -> None:
        served.say(delta("start,"))
        await trio.sleep(0.1)
        for number in range(chunks):
            served.say(delta(f"{number},"))
        await trio.sleep(pause + 1)
        served.complete()

    async with open_world() as world:
        channel = world.provider("p", pours)
        consumer = Consumer(spouting=spouting)

        async def stall() -> None:
            await trio.sleep(0.05)
            consumer.hold()
            await trio.sleep(0.05 + pause)
            consumer.resume()

        world.nursery.start_soon(stall)
        await world.ask(consumer=consumer)
        return consumer, channel, await world.settled()


@pytest.mark.parametrize("spouting", [True, False])
async def test_a_pause_shorter_than_the_grace_loses_nothing(spouting: bool, autojump_clock: MockClock) -> None:
    consumer, channel, record = await crowded(0.2, 300, spouting=spouting)
    assert consumer.text == "start," + "".join(f"{number}," for number in range(300))
    assert consumer.events[-1] == "[DONE]"
    assert channel.cancels == []
    assert record.outcome is Outcome.SUCCESS


@pytest.mark.parametrize("spouting", [True, False])
async def test_a_pause_longer_than_the_grace_ends_the_stream(spouting: bool, autojump_clock: MockClock) -> None:
    consumer, channel, record = await crowded(0.4, 300, spouting=spouting)
    assert "error" in consumer.events[-1]
    assert b"[DONE]" not in consumer.data
    assert ("start," + "".join(f"{number}," for number in range(300))).startswith(consumer.text)
    assert len(channel.cancels) == 1
    assert record.status == 499
    assert record.outcome is Outcome.PARTIAL_SUCCESS


async def test_a_burst_says_nothing_of_the_consumer(autojump_clock: MockClock) -> None:
    consumer, channel, record = await crowded(0.2, 2000)
    assert consumer.text == "start," + "".join(f"{number}," for number in range(2000))
    assert channel.cancels == []
    assert record.outcome is Outcome.SUCCESS


@pytest.mark.parametrize("direct", [True, False])
async def test_a_reading_consumer_survives_one_burst_after_the_other(direct: bool, autojump_clock: MockClock) -> None:
    async def bursts(served: Served) -> None:
        for burst in range(5):  # the first one arrives before the answer's head can be sent
            for number in range(400):
                served.say(delta(f"{burst * 400 + number},"))
            await trio.sleep(1)
        served.complete()

    async with open_world() as world:
        channel = world.provider("p", bursts)
        _, consumer = await world.ask(consumer=Consumer(direct=direct))
        assert consumer.text == "".join(f"{number}," for number in range(2000))
        assert consumer.events[-1] == "[DONE]"
        assert channel.cancels == []


async def test_chunks_that_go_on_coming_end_the_stream_within_the_grace(autojump_clock: MockClock) -> None:
    async def pours(served: Served) -> None:
        served.say(delta("start,"))
        await trio.sleep(0.1)
        while served.live and not served.cancelled.is_set():
            served.say(delta("x" * 40))
            await trio.sleep(0.0001)
        served.complete()

    async with open_world() as world:
        channel = world.provider("p", pours)
        consumer = Consumer()

        async def stall() -> None:
            await trio.sleep(0.05)
            consumer.hold()
            await trio.sleep(3)
            consumer.resume()

        world.nursery.start_soon(stall)
        await world.ask(consumer=consumer)
        (served,) = channel.seen
        assert 256 + 64 <= served.sink.sink.deltas <= 256 + 64 + 10  # type: ignore[attr-defined]
        assert "error" in consumer.events[-1]
        assert (await world.settled()).status == 499


async def test_a_slow_consumer_is_no_fault_of_the_provider(autojump_clock: MockClock) -> None:
    consumer, _, record = await crowded(0.4, 400)
    assert record.provider_id == "dev-p"
    assert consumer.text.startswith("start,0,1,")


async def test_what_the_pump_wrote_counts_like_everything_else(autojump_clock: MockClock) -> None:
    async def speaks(served: Served) -> None:
        served.say(delta("start,"))
        for number in range(5):
            await trio.sleep(10)
            served.say(delta(f"{number},"))
        served.complete()

    async with open_world() as world:
        world.provider("p", speaks)
        _, consumer = await world.ask()
        assert consumer.spout is not None
        assert (consumer.spout.deltas, consumer.spout.text_bytes) == (5, 10)
        assert consumer.text == "start,0,1,2,3,4,"
        assert b"keep-alive" not in consumer.data, "every chunk of the pump restarts the silence"
        record = await world.settled()
        assert (record.delivered_deltas, record.delivered_text_bytes) == (6, 16)


async def test_a_parked_attempt_writes_nothing_more(autojump_clock: MockClock) -> None:
    async def talks_on(served: Served) -> None:
        served.say(delta("start,"))
        await trio.sleep(0.1)
        for number in range(300):
            served.say(delta(f"{number},"))
        await served.cancelled.wait()
        await trio.sleep(0.05)
        served.say(delta("too late"))
        served.complete()

    async with open_world() as world:
        channel = world.provider("p", talks_on)
        consumer = Consumer()

        async def stall() -> None:
            await trio.sleep(0.05)
            consumer.hold()
            with trio.fail_after(5):
                while not channel.cancels:
                    await trio.sleep(0.01)
            consumer.resume()

        world.nursery.start_soon(stall)
        await world.ask(consumer=consumer)
        assert consumer.spout is not None
        assert not consumer.spout.takes(1)
        assert b"too late" not in consumer.data
        assert "error" in consumer.events[-1]
