"""How long the relay waits for a provider: first content, the next chunk, the last word."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from server.relay import Outcome
from tests.unit.server.relay.relay_world import ROLE, STOP, Served, delta, error_of, open_world, saying, silent


async def test_silence_ends_at_the_first_content_deadline(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channel = world.provider("p", silent)
        started = trio.current_time()
        error = error_of((await world.ask())[0])
        assert error.status == 429
        assert error.reason == "first_chunk_timeout"
        assert trio.current_time() - started == pytest.approx(5.01)
        assert channel.log == ["detach", "cancel"]
        assert world.reserved() == 0


async def test_a_preamble_is_no_content_and_buys_ninety_seconds_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def script(served: Served) -> None:
            served.say(ROLE)
            await trio.sleep(4)
            served.say(ROLE)

        world.provider("p", script)
        started = trio.current_time()
        error = error_of((await world.ask())[0])
        assert error.status == 429
        assert trio.current_time() - started == pytest.approx(95.01)


async def test_accepted_extends_only_for_a_cold_model(autojump_clock: MockClock) -> None:
    async def loading(served: Served) -> None:
        served.accept()
        await trio.sleep(300)
        served.say(delta("warm now"))
        served.complete()

    async with open_world() as world:
        world.provider("cold", loading, cold=True)
        _, consumer = await world.ask()
        assert consumer.text == "warm now"
    async with open_world() as world:
        world.provider("warm", loading)
        started = trio.current_time()
        assert error_of((await world.ask())[0]).status == 429
        assert trio.current_time() - started == pytest.approx(5.01)


async def test_a_cold_provider_that_only_accepts_ends_after_ten_minutes(autojump_clock: MockClock) -> None:
    async def accepting(served: Served) -> None:
        served.accept()

    async with open_world() as world:
        world.provider("cold", accepting, cold=True)
        started = trio.current_time()
        assert error_of((await world.ask())[0]).reason == "first_chunk_timeout"
        assert trio.current_time() - started == pytest.approx(600, abs=0.1)


async def test_the_clock_is_absolute_over_retries(autojump_clock: MockClock) -> None:
    async def late_error(served: Served) -> None:
        await trio.sleep(3)
        served.error(status_code=500)

    async with open_world() as world:
        for name in "abc":
            world.provider(name, late_error)
        started = trio.current_time()
        error_of((await world.ask())[0])
        assert trio.current_time() - started == pytest.approx(5.01)


async def test_a_stream_that_stops_is_cut_after_ten_minutes(autojump_clock: MockClock) -> None:
    async def stops(served: Served) -> None:
        served.say(delta("a"))
        await trio.sleep(599)
        served.say(delta("b"))

    async with open_world() as world:
        channel = world.provider("p", stops)
        started = trio.current_time()
        _, consumer = await world.ask()
        assert trio.current_time() - started == pytest.approx(1199, abs=1)
        assert consumer.text == "ab"
        assert consumer.events[-1]["error"]["type"] == "timeout"
        record = await world.settled()
        assert (record.outcome, record.usage) == (Outcome.TIMEOUT, None)
        assert len(channel.cancels) == 1
        assert b"keep-alive" in consumer.data


async def test_an_answer_in_one_piece_has_ten_minutes_in_all(autojump_clock: MockClock) -> None:
    async def drips(served: Served) -> None:
        while served.live:
            served.say(delta("x"))
            await trio.sleep(50)

    async with open_world() as world:
        world.provider("p", drips)
        error = error_of((await world.ask(world.job(stream=False)))[0])
        assert (error.status, error.error_type) == (504, "timeout")
        assert (await world.settled()).outcome is Outcome.TIMEOUT


async def test_silence_is_counted_from_the_last_chunk_of_the_pump(autojump_clock: MockClock) -> None:
    async def stops(served: Served) -> None:
        for word in "abcd":
            served.say(delta(word))
            await trio.sleep(599)

    async with open_world() as world:
        world.provider("p", stops)
        started = trio.current_time()
        _, consumer = await world.ask()
        assert trio.current_time() - started == pytest.approx(3 * 599 + 600, abs=1)
        assert consumer.text == "abcd"
        assert consumer.events[-1]["error"]["type"] == "timeout"


@pytest.mark.parametrize("last", [STOP, b"data: [DONE]\n\n", b"data:[DONE]"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_missing_completion_is_awaited_two_seconds(
    last: bytes, stream: bool, autojump_clock: MockClock
) -> None:
    async def mute(served: Served) -> None:
        served.say(delta("a"))
        await trio.sleep(1)
        served.say(last)

    async with open_world() as world:
        channel = world.provider("p", mute)
        started = trio.current_time()
        outcome, consumer = await world.ask(world.job(stream=stream))
        assert trio.current_time() - started == pytest.approx(3)
        if stream:
            assert consumer.events[-1]["error"]["type"] == "provider_error"
            assert b"[DONE]" not in consumer.data
        else:
            assert error_of(outcome).status == 502
        record = await world.settled()
        assert (record.outcome, record.usage, record.status) == (Outcome.PROVIDER_ERROR, None, 502)
        assert len(channel.cancels) == 1
        assert world.reserved() == 0


async def test_a_completion_within_two_seconds_of_the_last_chunk_counts(autojump_clock: MockClock) -> None:
    async def slow(served: Served) -> None:
        served.say(delta("a"))
        served.say(STOP)
        await trio.sleep(1.5)
        served.say(b"data: [DONE]\n\n")
        await trio.sleep(1.5)
        served.complete()

    async with open_world() as world:
        world.provider("p", slow)
        _, consumer = await world.ask()
        assert consumer.events[-1] == "[DONE]"


async def test_an_end_without_content_or_completion_fails_over(autojump_clock: MockClock) -> None:
    async def empty(served: Served) -> None:
        served.say(ROLE)
        served.say(STOP)

    async with open_world() as world:
        turns = iter([empty, saying("ok")])

        async def script(served: Served) -> None:
            await next(turns)(served)

        for name in ("a", "b"):
            world.provider(name, script)
        started = trio.current_time()
        _, consumer = await world.ask()
        assert consumer.text == "ok"
        assert trio.current_time() - started == pytest.approx(2)
