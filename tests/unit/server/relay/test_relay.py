"""Whole requests through the relay: a stream, an answer in one piece, what comes with them, and what is billed."""

from __future__ import annotations

import json

import pytest
from trio.testing import MockClock

from protocol.messages.from_provider import CompleteExtension
from server.relay import Answered, Committed, Outcome
from tests.unit.server.relay.relay_world import MODEL, ROLE, Served, delta, open_world, saying


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
