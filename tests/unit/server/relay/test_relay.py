"""Whole requests through the relay: streams, answers, failover, timeouts, slow and vanished consumers, settlement."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol.api import ChatStream
from protocol.api.errors import payload_too_large
from protocol.failure import coordinator_shutdown, provider_restart
from protocol.messages.from_provider import CompleteExtension
from server.ports import WriterStopped, WriteTimeout
from server.relay import Answered, Committed, Outcome, Refused, SilentObserver
from tests.unit.server.relay.relay_world import (
    MODEL,
    ROLE,
    STOP,
    Consumer,
    Served,
    delta,
    failing,
    open_world,
    saying,
    silent,
)

CAPACITY = {"failure_code": "capacity", "error_reason": "token_budget_exhausted", "status_code": 503}


def error_of(outcome: Any) -> Any:
    assert isinstance(outcome, Refused)
    return outcome.error


async def test_stream_from_request_to_settlement(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        channel = world.provider("p", saying("Hel", "lo", " there", pause=0.01))
        outcome, consumer = await world.ask()
        assert isinstance(outcome, Committed)
        assert consumer.text == "Hello there"
        assert consumer.events[-1] == "[DONE]"
        assert consumer.events[-2]["usage"]["total_tokens"] == 5
        assert {event["model"] for event in consumer.events[:-1]} == {"alias"}
        assert {event["id"] for event in consumer.events[:-1]} == {f"chatcmpl-{outcome.job_id}"}
        (served,) = channel.seen
        assert served.body == {"model": MODEL, "messages": [1]}
        assert served.budget_ms == 5010
        assert served.spliced == 2
        record = await world.settled()
        assert record.outcome is Outcome.SUCCESS
        assert (record.job_id, record.coord_request_id, record.build) == (outcome.job_id, "coord-1", MODEL)
        assert record.usage is not None
        assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (3, 2)
        assert (record.delivered_deltas, record.delivered_text_bytes) == (3, 11)
        assert (record.attempts, record.status, record.provider_id) == (1, 200, "dev-p")
        assert world.reserved() == 0
        assert channel.cancels == []


async def test_headers_name_job_timing_and_machine(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("x", pause=0.5))
        outcome, _ = await world.ask()
        assert isinstance(outcome, Committed)
        timing = json.loads(outcome.headers["X-Timing"])
        assert 499_000 <= timing["provider_us"] <= 501_000
        assert timing["total_us"] == sum(value for key, value in timing.items() if key != "total_us")
        assert outcome.headers["X-Inference-Job-ID"] == outcome.job_id
        assert outcome.headers["X-Provider-Id"] == "p"
        assert outcome.headers["X-Provider-Attested"] == "true"
        assert outcome.headers["X-Provider-Trust-Level"] == "hardware"
        assert outcome.headers["X-Provider-Encrypted"] == "true"


async def test_answer_in_one_piece(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def script(served: Served) -> None:
            for text in ("Hel", "lo", " \\ ", "é"):
                served.say(delta(text))
            served.complete(response_hash="ab", se_signature="c2ln")

        channel = world.provider("p", script)
        outcome, _ = await world.ask(world.job(stream=False, wants_metadata=True))
        assert isinstance(outcome, Answered)
        assert outcome.body["choices"][0]["message"]["content"] == "Hello \\ é"  # type: ignore[index]
        assert outcome.body["se_signature"] == "c2ln"
        assert outcome.body["metadata"]["job_id"] == outcome.job_id  # type: ignore[index]
        assert channel.seen[0].spliced == 3
        assert (await world.settled()).delivered_text_bytes == 10


async def test_receipt_rides_along(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def script(served: Served) -> None:
            served.say(delta("x"))
            served.complete(darkbloom=CompleteExtension(receipt="{}", receipt_signature="s"))

        world.provider("p", script)
        _, consumer = await world.ask()
        assert consumer.events[-2]["darkbloom"] == {"receipt": "{}", "receipt_signature": "s"}


async def test_usage_is_cut_to_what_was_asked_for(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("x", completion=5000))
        _, consumer = await world.ask()
        assert consumer.events[-2]["usage"]["completion_tokens"] == 100
        record = await world.settled()
        assert record.usage is not None
        assert record.usage.completion_tokens == 100


async def test_empty_completion_is_an_answer(autojump_clock: MockClock) -> None:
    async with open_world() as world:

        async def script(served: Served) -> None:
            served.say(ROLE)
            served.complete(completion=0)

        world.provider("p", script)
        outcome, consumer = await world.ask()
        assert isinstance(outcome, Committed)
        assert [event["choices"][0]["delta"] for event in consumer.events[:2]] == [
            {"role": "assistant", "content": ""},
            {},
        ]
        assert (await world.settled()).outcome is Outcome.SUCCESS


# --- failover ---------------------------------------------------------------------------------------------------------


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


# --- clocks -----------------------------------------------------------------------------------------------------------


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


# --- after content ----------------------------------------------------------------------------------------------------


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


async def test_a_stream_that_nobody_fetches_is_given_up(autojump_clock: MockClock) -> None:
    async def endless(served: Served) -> None:
        while served.live and not served.cancelled.is_set():
            served.say(delta("x"))
            await trio.sleep(1)
        served.complete()

    async with open_world() as world:
        world.provider("p", endless)
        assert isinstance(await world.relay.run(world.job()), Committed)
        started = trio.current_time()
        assert (await world.settled()).outcome is Outcome.PARTIAL_SUCCESS
        assert trio.current_time() - started < 35


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


# --- slow consumers ---------------------------------------------------------------------------------------------------


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


# --- what the pump writes itself -------------------------------------------------------------------------------------


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


# --- the provider's last word -----------------------------------------------------------------------------------------


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


async def test_a_prompt_claim_is_cut_to_the_hold(autojump_clock: MockClock) -> None:
    async def greedy(served: Served) -> None:
        served.say(delta("x"))
        served.complete(prompt=2**62)

    async with open_world() as world:
        world.provider("p", greedy)
        _, consumer = await world.ask(world.job(prompt_tokens_hold=77))
        assert consumer.events[-2]["usage"]["prompt_tokens"] == 77
        record = await world.settled()
        assert record.usage is not None
        assert record.usage.prompt_tokens == 77


# --- queueing ---------------------------------------------------------------------------------------------------------


async def test_a_full_fleet_queues_and_serves_in_turn(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("one", pause=10), concurrency=1)
        done: list[str] = []

        async def one(name: str) -> None:
            outcome, consumer = await world.ask(world.job(coord_request_id=name, account_id=name))
            assert isinstance(outcome, Committed)
            assert consumer.text == "one"
            done.append(name)

        async with trio.open_nursery() as nursery:
            for name in ("a", "b", "c"):
                nursery.start_soon(one, name)
                await wait_all_tasks_blocked()
        assert done == ["a", "b", "c"]
        assert sorted(record.coord_request_id for record in world.ledger.records) == ["a", "b", "c"]
        assert world.reserved() == 0


async def test_queue_time_is_its_own_segment(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", saying("x", pause=4), concurrency=1)
        world.nursery.start_soon(world.ask)
        await wait_all_tasks_blocked()
        outcome, _ = await world.ask(world.job(coord_request_id="second"))
        assert isinstance(outcome, Committed)
        timing = json.loads(outcome.headers["X-Timing"])
        assert timing["queue_us"] == pytest.approx(4_000_000, rel=0.01)
        assert timing["provider_us"] == pytest.approx(4_000_000, rel=0.01)
        assert timing["route_us"] < 1000


async def test_a_full_queue_is_429_at_once_and_settled(autojump_clock: MockClock) -> None:
    async with open_world(policy={"queue_max_depth": 1}) as world:
        world.provider("p", silent, concurrency=1)
        for name in ("running", "waiting"):
            world.nursery.start_soon(world.ask, world.job(coord_request_id=name, account_id=name))
            await wait_all_tasks_blocked()
        started = trio.current_time()
        error = error_of(await world.relay.run(world.job(coord_request_id="third", account_id="third")))
        assert (error.status, error.reason) == (429, "queue_full")
        assert error.retry_after_seconds >= 2
        assert trio.current_time() == started
        await trio.testing.wait_all_tasks_blocked()
        (record,) = [one for one in world.ledger.records if one.coord_request_id == "third"]
        assert (record.outcome, record.attempts, record.job_id) == (Outcome.RATE_LIMITED, 0, None)


async def test_the_queue_wait_ends_with_429(autojump_clock: MockClock) -> None:
    async def endless(served: Served) -> None:
        while served.live:
            served.say(delta("x"))
            await trio.sleep(1)

    async with open_world() as world:
        world.provider("p", endless, concurrency=1)
        world.nursery.start_soon(world.ask, world.job(coord_request_id="first"))
        await wait_all_tasks_blocked()
        started = trio.current_time()
        error = error_of(await world.relay.run(world.job(coord_request_id="second")))
        assert (error.status, error.reason) == (429, "queue_timeout")
        assert trio.current_time() - started == pytest.approx(120)


async def test_leaving_the_queue_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.provider("p", silent, concurrency=1)
        world.nursery.start_soon(world.ask, world.job(coord_request_id="first"))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await world.relay.run(world.job(coord_request_id="second"))
        await wait_all_tasks_blocked()
        assert world.registry.queue_depth(MODEL) == 0
        (record,) = [one for one in world.ledger.records if one.coord_request_id == "second"]
        assert record.outcome is Outcome.CLIENT_GONE


async def test_an_unknown_model_is_404_and_an_empty_fleet_429(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        assert error_of(await world.relay.run(world.job(build="nope"))).status == 404
        await world.settled()
        world.provider("p", saying("x"))
        world.registry.disconnect("p", trio.current_time(), graceful=True)
        world.ledger.records.clear()
        error = error_of(await world.relay.run(world.job()))
        assert (error.status, error.reason) == (429, "no_provider")
        await world.settled()


# --- settlement -------------------------------------------------------------------------------------------------------


async def test_usage_is_settled_before_the_stream_ends(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.ledger.delay = 3.0
        world.provider("p", saying("x"))
        started = trio.current_time()
        _, consumer = await world.ask()
        assert consumer.events[-1] == "[DONE]"
        assert trio.current_time() - started == pytest.approx(3.0)


async def test_a_stuck_settlement_holds_the_answer_ten_seconds_at_most(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.ledger.delay = 1000.0
        world.provider("p", saying("x"))
        started = trio.current_time()
        _, consumer = await world.ask()
        assert consumer.events[-1] == "[DONE]"
        assert trio.current_time() - started == pytest.approx(10.0)


async def test_a_broken_settlement_breaks_nothing_else(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.ledger.error = ValueError("database")
        world.provider("p", saying("x"))
        for _ in range(2):
            _, consumer = await world.ask()
            assert consumer.events[-1] == "[DONE]"


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


class _BrokenObserver(SilentObserver):
    def request_ended(self, record: object) -> None:
        raise ZeroDivisionError

    def settlement_failed(self) -> None:
        raise ZeroDivisionError


async def test_a_broken_observer_keeps_no_request_from_its_settlement(autojump_clock: MockClock) -> None:
    async with open_world(observer=_BrokenObserver()) as world:
        world.provider("p", saying("x"))
        for error in (None, ValueError("database")):
            world.ledger.records.clear()
            world.ledger.error = error
            _, consumer = await world.ask()
            assert consumer.events[-1] == "[DONE]"
            assert (await world.settled()).outcome is Outcome.SUCCESS


async def test_a_large_body_is_sealed_off_the_loop(autojump_clock: MockClock) -> None:
    async with open_world(seal_inline_bytes=100) as world:
        channel = world.provider("p", saying("x"))
        body = json.dumps({"model": MODEL, "messages": ["y" * 1000]}).encode()
        _, consumer = await world.ask(world.job(make_body=lambda build: body))
        assert consumer.text == "x"
        assert channel.seen[0].body["messages"] == ["y" * 1000]


async def test_run_without_serve_says_so() -> None:
    async with open_world() as world:
        pass
    with pytest.raises(RuntimeError, match="not serving"):
        await world.relay.run(world.job())
