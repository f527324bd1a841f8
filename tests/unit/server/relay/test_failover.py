"""Attempts that fail before content: which are tried again elsewhere, and how often."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from protocol.api.errors import payload_too_large
from server.ports import WriterStopped, WriteTimeout
from server.registry import CatalogEntry
from server.relay import Committed, Outcome
from tests.unit.server.relay.relay_world import MODEL, ROLE, Served, error_of, failing, open_world, saying

CAPACITY = {"failure_code": "capacity", "error_reason": "token_budget_exhausted", "status_code": 503}


async def test_failover_before_content_shows_only_the_winner(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        turns = iter([failing(status_code=500), saying("won")])

        async def script(served: Served) -> None:
            await next(turns)(served)

        channels = [world.provider(name, script) for name in ("a", "b")]
        outcome, consumer = await world.ask()
        assert isinstance(outcome, Committed)
        assert consumer.text == "won"
        record = await world.settled()
        assert record.attempts == 2
        seen = [one for channel in channels for one in channel.seen]
        assert len({one.sink.request_id for one in seen}) == 2
        assert [len(channel.seen) for channel in channels] == [1, 1]
        assert all(channel.cancels == [] for channel in channels)
        assert record.job_id == outcome.job_id


async def test_client_error_stops_after_one_attempt(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channels = [world.provider(name, failing(status_code=400)) for name in ("a", "b")]
        error = error_of((await world.ask())[0])
        assert (error.status, error.error_type) == (400, "invalid_request_error")
        assert sum(len(channel.seen) for channel in channels) == 1
        record = await world.settled()
        assert (record.outcome, record.usage, record.status) == (Outcome.CLIENT_ERROR, None, 400)


async def test_a_machine_that_calls_every_request_too_long_stops_none_and_is_left_out(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.registry.set_catalog([CatalogEntry(id=MODEL, context_window=32_768)], trio.current_time())
        liar = world.provider("liar", failing(failure_code="capacity", error_reason="request_exceeds_context"))
        world.provider("honest", saying("ok"))
        for _ in range(20):
            world.ledger.records.clear()
            _, consumer = await world.ask()
            assert consumer.text == "ok"
            await world.settled()
        assert 1 <= len(liar.seen) <= 6


async def test_three_capacity_refusals_are_enough(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channels = [world.provider(f"p{number}", failing(**CAPACITY)) for number in range(10)]
        error = error_of((await world.ask())[0])
        assert error.status == 429
        assert 2 <= error.retry_after_seconds <= 60
        assert sum(len(channel.seen) for channel in channels) == 3
        assert (await world.settled()).outcome is Outcome.RATE_LIMITED
        assert world.reserved() == 0


async def test_eight_faults_are_enough_and_every_machine_is_tried_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channels = [world.provider(f"p{number}", failing(status_code=500)) for number in range(10)]
        error = error_of((await world.ask())[0])
        assert (error.status, error.error_type) == (502, "provider_error")
        assert sorted(len(channel.seen) for channel in channels) == [0, 0] + [1] * 8
        assert (await world.settled()).outcome is Outcome.PROVIDER_ERROR


async def test_the_last_real_error_is_returned_when_nobody_is_left(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("only", failing(status_code=500))
        assert error_of((await world.ask())[0]).status == 502


async def test_a_draining_provider_is_marked_and_another_serves(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        turns = iter([failing(failure_code="capacity", error_reason="draining"), saying("ok")])

        async def script(served: Served) -> None:
            await next(turns)(served)

        for name in ("a", "b"):
            world.provider(name, script)
        _, consumer = await world.ask()
        assert consumer.text == "ok"
        assert sum(session.live.draining_until is not None for session in world.registry.sessions()) == 1


@pytest.mark.parametrize("how", ["violate", "bad_text", "gone"])
async def test_every_terminal_of_the_link_fails_over(how: str, autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def bad(served: Served) -> None:
            served.say(ROLE)
            getattr(served, how)()

        turns = iter([bad, saying("ok")])

        async def script(served: Served) -> None:
            await next(turns)(served)

        for name in ("a", "b"):
            world.provider(name, script)
        _, consumer = await world.ask()
        assert consumer.text == "ok"
        assert [event["choices"][0]["delta"].get("role") for event in consumer.events[:-2]].count("assistant") == 1
        await world.settled()
        assert world.reserved() == 0


@pytest.mark.parametrize("started", [False, True])
async def test_a_request_that_cannot_be_sent_goes_elsewhere(started: bool, autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channels = [world.provider(name, saying("ok")) for name in ("a", "b")]
        broken = channels[0]
        broken.send_error = WriteTimeout("slow", frame_started=True) if started else WriterStopped("closing")
        for _ in range(3):
            world.ledger.records.clear()
            _, consumer = await world.ask()
            assert consumer.text == "ok"
        strikes = world.registry.faults.events("dev-a")
        assert broken.seen == []
        assert broken.pending == {}
        assert world.reserved() == 0
        assert bool(strikes) is started
        # Asked once: a connection that is known to be broken gets nothing more, though its teardown is still to come.
        assert len(strikes) <= 1


async def test_a_channel_that_closes_refuses_the_attachment(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channels = [world.provider(name, saying("ok")) for name in ("a", "b")]
        channels[0].stopped = True
        for _ in range(2):
            world.ledger.records.clear()
            _, consumer = await world.ask()
            assert consumer.text == "ok"
        assert world.reserved() == 0


async def test_a_key_that_cannot_be_sealed_to_goes_elsewhere(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channels = [world.provider(name, saying("ok")) for name in ("a", "b")]
        channels[0].public_key = bytes(32)
        for _ in range(2):
            world.ledger.records.clear()
            _, consumer = await world.ask()
            assert consumer.text == "ok"
        assert channels[0].seen == []
        assert world.reserved() == 0


async def test_a_body_that_grew_over_the_cap_is_413_and_free(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        def too_large(build: str) -> bytes:
            raise payload_too_large(len(build))

        channel = world.provider("p", saying("x"))
        assert error_of(await world.relay.run(world.job(make_body=too_large))).status == 413
        assert (await world.settled()).outcome is Outcome.CLIENT_ERROR
        assert world.reserved() == 0
        assert channel.log == []
