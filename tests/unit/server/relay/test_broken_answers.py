"""Answers that break: an error after content, a fault of ours, a coordinator that stops."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol.api import ChatStream
from protocol.failure import coordinator_shutdown, provider_restart
from server.relay import Outcome, Refused
from tests.unit.server.relay.relay_world import Consumer, Served, delta, error_of, open_world, saying


@pytest.mark.parametrize("early", [True, False])
async def test_a_fault_of_our_normaliser_ends_one_attempt_alone(
    early: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(served: Served) -> None:
        if not early:
            served.say(delta("a"))
        served.say(b"poison")
        served.complete()

    feed = ChatStream.feed

    def poisoned(self: ChatStream, plaintext: bytes) -> Any:
        if plaintext == b"poison":
            raise ZeroDivisionError
        return feed(self, plaintext)

    monkeypatch.setattr(ChatStream, "feed", poisoned)
    async with open_world() as world:
        channel = world.provider("p", script)
        outcome, consumer = await world.ask()
        assert isinstance(outcome, Refused) is early
        assert early or consumer.events[-1]["error"]["type"] == "internal_error"
        await world.settled()
        assert len(channel.cancels) == 1
        assert world.reserved() == 0


async def test_an_answer_beyond_all_bounds_is_cut(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.api.chat_answer.MAX_TEXT_BYTES", 1000)

    async def script(served: Served) -> None:
        while served.live:
            served.say(delta("x" * 100))
            await trio.sleep(0.001)

    async with open_world() as world:
        channel = world.provider("p", script)
        assert error_of((await world.ask(world.job(stream=False)))[0]).status == 502
        assert len(channel.cancels) == 1
        assert world.reserved() == 0


async def test_an_error_after_content_is_in_band_and_free(autojump_clock: MockClock) -> None:
    async def breaks(served: Served) -> None:
        served.say(delta("a"))
        await trio.sleep(0.1)
        served.say(delta("b"))
        served.error(status_code=500, error="secret prose")

    async with open_world() as world:
        channels = [world.provider(name, breaks) for name in ("a", "b")]
        _, consumer = await world.ask()
        assert consumer.text == "ab"
        assert consumer.events[-1]["error"]["type"] == "provider_error"
        assert b"secret" not in consumer.data
        assert b"[DONE]" not in consumer.data
        record = await world.settled()
        assert (record.outcome, record.usage, record.delivered_deltas) == (Outcome.PROVIDER_ERROR, None, 2)
        assert sum(len(channel.seen) for channel in channels) == 1


async def test_an_error_after_content_has_a_status_when_nothing_was_sent(autojump_clock: MockClock) -> None:
    async def breaks(served: Served) -> None:
        served.say(delta("a"))
        served.gone(provider_restart())

    async with open_world() as world:
        world.provider("p", breaks)
        assert error_of((await world.ask(world.job(stream=False)))[0]).status == 502


async def test_a_crash_of_ours_is_500_released_and_settled(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        def crash(build: str) -> bytes:
            raise ZeroDivisionError(build)

        world.provider("p", saying("x"))
        assert error_of(await world.relay.run(world.job(make_body=crash))).status == 500
        record = await world.settled()
        assert record.outcome is Outcome.INTERNAL_ERROR
        assert world.reserved() == 0


async def test_a_shutdown_cuts_streams_and_still_settles(autojump_clock: MockClock) -> None:
    async def endless(served: Served) -> None:
        served.say(delta("x"))

    async with trio.open_nursery() as outer, open_world() as world:
        channel = world.provider("p", endless)
        world.ledger.delay = 5.0
        consumer = Consumer()
        outer.start_soon(world.ask, None, consumer)
        await wait_all_tasks_blocked()
        assert consumer.text == "x"
    assert world.ledger.only.usage is None
    assert consumer.events[-1]["error"]["code"] == "rate_limit_exceeded"
    assert len(channel.cancels) == 1
    assert world.reserved() == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("content", [True, False])
async def test_a_link_that_stops_with_the_coordinator_says_restarting(
    stream: bool, content: bool, autojump_clock: MockClock
) -> None:
    async def cut(served: Served) -> None:
        if content:
            served.say(delta("x"))
        await trio.sleep(1)
        served.gone(coordinator_shutdown())
        served.channel.stopped = True

    async with open_world() as world:
        world.provider("p", cut)
        outcome, consumer = await world.ask(world.job(stream=stream))
        if stream and content:
            assert consumer.events[-1]["error"]["code"] == "rate_limit_exceeded"
        else:
            error = error_of(outcome)
            assert (error.status, error.reason, error.retry_after_seconds) == (429, "draining", 3.0)
        assert (await world.settled()).outcome is Outcome.RATE_LIMITED
