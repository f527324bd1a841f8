"""The real provider with the demo model behind the real coordinator."""

from __future__ import annotations

import json
import signal
from contextlib import aclosing
from pathlib import Path

import trio

from tests.testbed.consumer import chat, chat_body, connect
from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.real_provider import DEMO_MODEL, real_provider

PROMPTS = [
    "What is Darkbloom?",
    "How do I start?",
    "Who can read my prompt?",
    "What does the coordinator do?",
    "Which licence is it under?",
    "What is a provider?",
    "Does it run on Linux?",
    "How is a prompt sealed?",
    "Can I use the OpenAI SDK?",
    "What is MLX?",
    "Hello",
    "Thank you",
    "How do I stop it?",
    "What happens when a provider dies?",
    "Do you like pizza?",
    "Who are you?",
]
GREEDY = {"temperature": 0, "max_tokens": 60}


async def capacity(server: Coordinator) -> dict[str, object]:
    """Give the capacity row of the demo model."""
    rows = (await server.get("/v1/models/capacity", None)).json()["models"]
    found: dict[str, object] = next(row for row in rows if row["id"] == DEMO_MODEL)
    return found


async def test_sixteen_streams_in_one_batch_equal_their_solo_runs(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path) as server,
        real_provider(tmp_path, server.link_url, {"DARKBLOOM_MAX_CONCURRENT": "16"}),
    ):
        await server.routable(DEMO_MODEL, seconds=60)
        solo = {}
        for prompt in PROMPTS:
            head, solo[prompt], events = await chat(server.port, API_KEY, DEMO_MODEL, prompt, **GREEDY)
            assert (head.status, events[-1]) == (200, "[DONE]")
        together: dict[str, str] = {}
        most = 0

        async def ask(prompt: str) -> None:
            head, text, events = await chat(server.port, API_KEY, DEMO_MODEL, prompt, **GREEDY)
            assert (head.status, events[-1]) == (200, "[DONE]")
            together[prompt] = text

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for prompt in PROMPTS:
                    nursery.start_soon(ask, prompt)
                while len(together) < len(PROMPTS):
                    most = max(most, int(await server.metric("darkbloom_engine_rows", model=DEMO_MODEL)))
                    await trio.sleep(0.05)
    assert together == solo
    assert most >= 8, f"at most {most} rows ran together"


async def test_consumer_that_leaves_frees_its_row_and_the_capacity(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as server, real_provider(tmp_path, server.link_url):
        await server.routable(DEMO_MODEL, seconds=60)
        async with connect(server.port) as consumer:
            body = chat_body(DEMO_MODEL, "What is Darkbloom?", max_tokens=2000, temperature=1.5, seed=1)
            head = await consumer.post("/v1/chat/completions", body, {"authorization": f"Bearer {API_KEY}"})
            assert head.status == 200
            async with aclosing(consumer.events()) as events:
                await anext(events)
        with trio.fail_after(10):
            while (await capacity(server))["active_requests"] or await server.metric("darkbloom_engine_rows"):
                await trio.sleep(0.05)
        head, text, _events = await chat(server.port, API_KEY, DEMO_MODEL, "Hello", **GREEDY)
        assert head.status == 200
        assert text


async def test_provider_returns_by_itself_after_a_coordinator_restart(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as first:
        port = first.port
        async with real_provider(tmp_path, first.link_url):
            await first.routable(DEMO_MODEL, seconds=60)
            first.process.signal(signal.SIGTERM)
            assert await first.process.wait() == 0
            async with coordinator(tmp_path, port=port, name="second") as second:
                await second.routable(DEMO_MODEL, seconds=60)
                head, text, _events = await chat(second.port, API_KEY, DEMO_MODEL, "Hello", **GREEDY)
                assert head.status == 200
                assert text


async def test_same_seed_same_answer_and_usage_counts(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as server, real_provider(tmp_path, server.link_url) as provider:
        await server.routable(DEMO_MODEL, seconds=60)
        sampled = {"temperature": 1.0, "seed": 7, "max_tokens": 24}
        answers = [
            json.loads((await chat(server.port, API_KEY, DEMO_MODEL, "Hello", stream=False, **sampled))[2][0])
            for _ in range(2)
        ]
        assert answers[0]["choices"] == answers[1]["choices"]
        usage = answers[0]["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert 0 < usage["completion_tokens"] <= 24
        head, text, _events = await chat(server.port, API_KEY, DEMO_MODEL, "What is Darkbloom?", stop=["an"], **GREEDY)
        assert head.status == 200
        assert "an" not in text
        provider.signal(signal.SIGTERM)
        assert await provider.wait() == 0
