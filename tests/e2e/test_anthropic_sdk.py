"""The official Anthropic SDK against real processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anthropic
import pytest
import trio
from anthropic.types import Message

from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.real_provider import DEMO_MODEL, real_provider
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, Answering, Failure, FaultScript, say

# The SDK leaves the async generators of a finished stream to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

PIECES = ("Hé", "llo ", "🌍", "!")
ASKED: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
TOOLS = [
    {
        "name": "add",
        "description": "Add two numbers.",
        "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    }
]


def sync_client(server: Coordinator, key: str = API_KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.base_url, api_key=key, max_retries=0)


def async_client(server: Coordinator) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0)


def fragment(index: int, call_id: str = "", name: str = "", arguments: str = "") -> dict[str, Any]:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id:
        call |= {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [call]}


def deltas(*given: Mapping[str, Any], finish: str = "stop", script: FaultScript | None = None) -> Answering:
    answer = Answer(pieces=(), deltas=given, finish_reason=finish)
    return lambda _body: (answer, script or FaultScript())


THOUGHTFUL = deltas(
    {"reasoning_content": "Two "},
    {"reasoning_content": "sums."},
    fragment(0, "c1", "add", '{"a":1,'),
    fragment(0, arguments='"b":2}'),
    fragment(1, "c2", "add", '{"a": 3, "b": 4}'),
    finish="tool_calls",
)
"""Thinking, then two tool calls."""


def blocks_of(message: Message) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for block in message.content:
        match block.type:
            case "text":
                found.append(("text", block.text))
            case "thinking":
                found.append(("thinking", block.thinking))
            case "tool_use":
                found.append(("tool_use", block.id, block.name, block.input))
    assert len(found) == len(message.content)
    return found


def check_text(message: Message) -> None:
    assert blocks_of(message) == [("text", "".join(PIECES))]
    assert message.id.startswith("msg_")
    assert (message.model, message.role, message.stop_reason) == (MODEL, "assistant", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, len(PIECES))


def check_thoughtful(message: Message) -> None:
    assert blocks_of(message) == [
        ("thinking", "Two sums."),
        ("tool_use", "c1", "add", {"a": 1, "b": 2}),
        ("tool_use", "c2", "add", {"a": 3, "b": 4}),
    ]
    assert message.stop_reason == "tool_use"


async def test_sync_answer_and_stream(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url):

        def ask() -> None:
            with sync_client(running) as client:
                check_text(client.messages.create(**ASKED))
                with client.messages.stream(**ASKED) as stream:
                    assert "".join(stream.text_stream) == "".join(PIECES)
                    check_text(stream.get_final_message())

        await trio.to_thread.run_sync(ask)


async def test_async_answer_and_stream(running: Coordinator) -> None:
    provider = SimulatedProvider(answering=say(*PIECES))
    async with provider.session(running.link_url), async_client(running) as client:
        check_text(await client.messages.create(**ASKED))
        async with client.messages.stream(**ASKED) as stream:
            check_text(await stream.get_final_message())
    assert provider.bodies[0]["messages"] == ASKED["messages"]
    assert provider.bodies[0]["max_tokens"] == 100


async def test_thinking_and_parallel_tools(running: Coordinator) -> None:
    provider = SimulatedProvider(answering=THOUGHTFUL)
    asked = ASKED | {"tools": TOOLS, "thinking": {"type": "enabled", "budget_tokens": 64}}
    async with provider.session(running.link_url):

        def ask() -> None:
            with sync_client(running) as client:
                check_thoughtful(client.messages.create(**asked))
                with client.messages.stream(**asked) as stream:
                    check_thoughtful(stream.get_final_message())

        await trio.to_thread.run_sync(ask)
        async with async_client(running) as client, client.messages.stream(**asked) as stream:
            check_thoughtful(await stream.get_final_message())
    body = provider.bodies[0]
    assert body["reasoning"] == {"enabled": True, "max_tokens": 64}
    assert body["tools"][0]["function"]["parameters"] == TOOLS[0]["input_schema"]


def adding(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Call a tool first, then repeat its results."""
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if results:
        return Answer(pieces=("The sums are ", " and ".join(results), ".")), FaultScript()
    return THOUGHTFUL(body)


@pytest.mark.parametrize("streamed", [True, False])
async def test_tool_loop(streamed: bool, running: Coordinator) -> None:
    provider = SimulatedProvider(answering=adding)
    messages: list[Any] = list(ASKED["messages"])
    message: Message
    async with provider.session(running.link_url), async_client(running) as client:
        for _ in range(3):
            asked = ASKED | {"tools": TOOLS, "messages": messages}
            if streamed:
                async with client.messages.stream(**asked) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**asked)
            messages.append({"role": "assistant", "content": message.content})
            if message.stop_reason != "tool_use":
                break
            results = []
            for block in message.content:
                if block.type == "tool_use":
                    total = sum(value for value in block.input.values() if isinstance(value, int))
                    results.append({"type": "tool_result", "tool_use_id": block.id, "content": str(total)})
            messages.append({"role": "user", "content": results})
    assert blocks_of(message) == [("text", "The sums are 3 and 7.")]
    assistant = provider.bodies[1]["messages"][1]
    assert assistant["reasoning_content"] == "Two sums."
    assert [call["id"] for call in assistant["tool_calls"]] == ["c1", "c2"]


async def test_tool_loop_and_token_count_without_async(running: Coordinator) -> None:
    def ask() -> Message:
        messages: list[Any] = list(ASKED["messages"])
        with sync_client(running) as client:
            counted = client.messages.count_tokens(model=MODEL, messages=messages, tools=TOOLS)  # type: ignore[arg-type]
            assert counted.input_tokens > 5
            with client.messages.stream(**ASKED | {"tools": TOOLS}) as stream:
                first = stream.get_final_message()
            check_thoughtful(first)
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": str(sum(block.input.values()))}  # type: ignore[arg-type]
                for block in first.content
                if block.type == "tool_use"
            ]
            messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
            return client.messages.create(**ASKED | {"tools": TOOLS, "messages": messages})

    async with SimulatedProvider(answering=adding).session(running.link_url):
        last = await trio.to_thread.run_sync(ask)
    assert blocks_of(last) == [("text", "The sums are 3 and 7.")]


async def test_count_tokens(running: Coordinator) -> None:
    async with SimulatedProvider().session(running.link_url), async_client(running) as client:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "hello world"}]}
        assert (await client.messages.count_tokens(**asked)).input_tokens == 6  # type: ignore[arg-type]
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.messages.count_tokens(**asked | {"model": "nope"})  # type: ignore[arg-type]
    assert unknown.value.type == "not_found_error"


async def test_models_in_the_shape_of_the_sdk(running: Coordinator) -> None:
    async with SimulatedProvider().session(running.link_url), async_client(running) as client:
        assert [model.id async for model in client.models.list()] == [MODEL]


async def test_errors_are_typed(running: Coordinator) -> None:
    def wrong_key() -> None:
        with sync_client(running, "sk-db-wrong") as client:
            client.messages.create(**ASKED)

    with pytest.raises(anthropic.AuthenticationError) as refused:
        await trio.to_thread.run_sync(wrong_key)
    assert refused.value.type == "authentication_error"
    assert refused.value.request_id
    async with SimulatedProvider().session(running.link_url), async_client(running) as client:
        with pytest.raises(anthropic.NotFoundError) as unknown:
            await client.messages.create(**ASKED | {"model": "nope"})
        assert (unknown.value.type, unknown.value.error_code) == ("not_found_error", "model_not_found")
        with pytest.raises(anthropic.BadRequestError) as bad:
            await client.messages.create(**ASKED | {"tool_choice": {"type": "tool"}})
        assert "tool_choice.name" in str(bad.value.api_message)


async def test_failure_after_content_raises_and_keeps_what_came(running: Coordinator) -> None:
    broken = FaultScript(fail_at=2, gap_seconds=0.05, failure=Failure(error="secret prose"))
    provider = SimulatedProvider(answering=say(*PIECES, script=broken))
    heard: list[str] = []

    async def listen(client: anthropic.AsyncAnthropic) -> None:
        async with client.messages.stream(**ASKED) as stream:
            async for piece in stream.text_stream:
                heard.append(piece)

    async with provider.session(running.link_url), async_client(running) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await listen(client)
    assert "".join(heard) == "".join(PIECES[:2])
    assert raised.value.type == "api_error"
    assert "secret" not in str(raised.value)


async def test_no_provider_is_a_rate_limit(running: Coordinator) -> None:
    full = Failure(status_code=503, failure_code="capacity", error_reason="queue_full")
    provider = SimulatedProvider(answering=say("x", script=FaultScript(fail_at=0, failure=full)))
    async with provider.session(running.link_url), async_client(running) as client:
        with pytest.raises(anthropic.RateLimitError) as refused:
            await client.messages.create(**ASKED)
    assert refused.value.type == "rate_limit_error"
    assert int(refused.value.response.headers["retry-after"]) >= 2


async def test_cancelled_stream_frees_the_provider(running: Coordinator) -> None:
    pieces = [f"{index} " for index in range(1000)]
    provider = SimulatedProvider(answering=say(*pieces, script=FaultScript(gap_seconds=0.01)))
    async with provider.session(running.link_url):
        async with async_client(running) as client, client.messages.stream(**ASKED) as stream:
            seen = 0
            async for _ in stream.text_stream:
                seen += 1
                if seen == 3:
                    break
        with trio.fail_after(2):
            while not provider.heard("cancel") or provider.running:
                await trio.sleep(0.01)


async def test_demo_model_answers(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as server, real_provider(tmp_path, server.link_url):
        await server.routable(DEMO_MODEL, seconds=60)
        asked = ASKED | {"model": DEMO_MODEL, "max_tokens": 40, "extra_body": {"temperature": 0}}
        async with async_client(server) as client:
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                streamed = await stream.get_final_message()
    assert blocks_of(whole) == blocks_of(streamed)
    assert whole.usage == streamed.usage
    assert whole.usage.output_tokens > 0
