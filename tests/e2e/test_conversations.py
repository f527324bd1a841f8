"""A conversation with two real providers behind the real coordinator stays with the one that has it in memory."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.testbed.consumer import connect
from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.real_provider import DEMO_MODEL, real_provider

KEYS = [API_KEY, "sk-db-somebody-else"]
SYSTEM = {"role": "system", "content": "You answer shortly. " * 70}


async def say(server: Coordinator, messages: list[Any], text: str, key: str = API_KEY) -> tuple[str, int]:
    """Send another turn and keep its answer; who answered, and how many tokens of the prompt it knew."""
    messages.append({"role": "user", "content": text})
    body = {"model": DEMO_MODEL, "messages": messages, "max_tokens": 12, "temperature": 0}
    async with connect(server.port) as consumer:
        head = await consumer.post(
            "/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {key}"}
        )
        answer = json.loads(await consumer.whole())
    assert head.status == 200, answer
    messages.append(answer["choices"][0]["message"])
    known = answer["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return head.headers["x-provider-id"], known


async def test_a_conversation_stays_where_it_is_cached_and_moves_when_that_provider_dies(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path, {"DARKBLOOM_API_KEYS": ",".join(KEYS)}) as server,
        real_provider(tmp_path, server.link_url, name="first") as first,
    ):
        await server.routable(DEMO_MODEL, seconds=60)
        messages: list[Any] = [SYSTEM]
        home, known = await say(server, messages, "What is Darkbloom?")
        assert known == 0
        async with real_provider(tmp_path, server.link_url, name="second"):
            await server.routable(DEMO_MODEL, 2, seconds=60)
            for text in ("Who can read my prompt?", "Who are you?", "Thank you"):
                provider, known = await say(server, messages, text)
                assert provider == home
                assert known > 200
            _, probed = await say(server, [SYSTEM], "What is Darkbloom?", key=KEYS[1])
            assert probed == 0
            first.signal(signal.SIGKILL)
            other, _ = await say(server, messages, "Still there?")
            assert other != home
            provider, known = await say(server, messages, "Good")
            assert provider == other
            assert known > 200
            answered = {
                outcome: await server.metric("darkbloom_cache_answers_total", model=DEMO_MODEL, outcome=outcome)
                for outcome in ("hit", "miss")
            }
            assert answered == {"hit": 4.0, "miss": 0.0}
