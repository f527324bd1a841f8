"""Consumers that leave: before content, while a request is sent, in the middle of an answer, and before its head."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.relay import Committed, Outcome
from tests.unit.server.relay.relay_world import Consumer, Served, delta, open_world, saying, silent


async def test_leaving_before_content_cancels_and_frees_at_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channel = world.provider("p", silent)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.ask)
                await wait_all_tasks_blocked()
                assert world.reserved() == 1
                scope.cancel()
        assert world.reserved() == 0
        assert channel.log == ["detach", "cancel"]
        record = await world.settled()
        assert (record.outcome, record.status, record.usage) == (Outcome.CLIENT_GONE, 499, None)


async def test_leaving_while_the_request_is_sent_sends_no_cancel(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channel = world.provider("p", silent)
        channel.send_delay = 2.0
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.ask)
                await wait_all_tasks_blocked()
                scope.cancel()
        await world.settled()
        assert channel.cancels == []
        assert channel.pending == {}
        assert world.reserved() == 0


async def test_leaving_after_content_parks_and_settles_what_was_generated(autojump_clock: MockClock) -> None:
    async def honest(served: Served) -> None:
        served.say(delta("a"))
        served.say(delta("b"))
        await served.cancelled.wait()
        await trio.sleep(2)
        served.complete(completion=40)

    async with open_world() as world:
        channel = world.provider("p", honest)
        outcome = await world.relay.run(world.job())
        assert isinstance(outcome, Committed)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outcome.produce, Consumer())
                await wait_all_tasks_blocked()
                scope.cancel()
        assert world.reserved() == 0
        assert len(channel.cancels) == 1
        assert len(channel.pending) == 1
        record = await world.settled()
        assert record.outcome is Outcome.PARTIAL_SUCCESS
        assert record.usage is not None
        assert (record.usage.completion_tokens, record.delivered_deltas) == (40, 2)


async def test_a_parked_attempt_expires_after_thirty_seconds(autojump_clock: MockClock) -> None:
    async def mute(served: Served) -> None:
        served.say(delta("a"))
        await trio.sleep(31)
        served.complete(completion=40)

    async with open_world() as world:
        channel = world.provider("p", mute)
        with trio.move_on_after(0.5):
            await world.ask()
        record = await world.settled()
        assert (record.outcome, record.usage) == (Outcome.CLIENT_GONE, None)
        assert channel.pending == {}
        assert channel.log == ["cancel", "detach"]


async def test_an_answer_that_nobody_waits_for_is_parked_too(autojump_clock: MockClock) -> None:
    async def honest(served: Served) -> None:
        served.say(delta("a"))
        await served.cancelled.wait()
        served.complete(completion=7)

    async with open_world() as world:
        world.provider("p", honest)
        with trio.move_on_after(0.5):
            await world.ask(world.job(stream=False))
        record = await world.settled()
        assert record.outcome is Outcome.PARTIAL_SUCCESS


async def _endless(served: Served) -> None:
    """A piece a second of the test's clock, until the cancel comes."""
    while served.live and not served.cancelled.is_set():
        served.say(delta("x"))
        with trio.move_on_after(1):
            await served.cancelled.wait()
    served.complete()


async def test_a_stream_that_nobody_fetches_is_given_up(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", _endless)
        assert isinstance(await world.relay.run(world.job()), Committed)
        started = trio.current_time()
        assert (await world.settled()).outcome is Outcome.PARTIAL_SUCCESS
        assert trio.current_time() - started < 35


async def test_a_stream_that_is_fetched_after_it_was_given_up_ends(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", _endless)
        outcome = await world.relay.run(world.job())
        assert isinstance(outcome, Committed)
        await world.settled()
        consumer = Consumer()
        with trio.fail_after(10):
            await outcome.produce(consumer)
        assert consumer.events[-1]["error"]["type"] == "timeout"


async def test_an_answer_that_ends_before_its_head_frees_the_capacity_at_once(autojump_clock: MockClock) -> None:
    async def endless(served: Served) -> None:
        served.say(delta("a"))
        await served.cancelled.wait()
        served.complete(completion=3)

    async with open_world() as world:
        channel = world.provider("p", endless)
        outcome = await world.relay.run(world.job())
        assert isinstance(outcome, Committed)
        outcome.abandon()
        assert world.reserved() == 0
        assert len(channel.cancels) == 1
        assert (await world.settled()).outcome is Outcome.PARTIAL_SUCCESS


async def test_abandoning_an_answer_that_was_written_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("a", "b", pause=0.1))
        outcome = await world.relay.run(world.job())
        assert isinstance(outcome, Committed)
        consumer = Consumer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome.produce, consumer)
            await wait_all_tasks_blocked()
            outcome.abandon()
        assert consumer.text == "ab"
        assert (await world.settled()).outcome is Outcome.SUCCESS
