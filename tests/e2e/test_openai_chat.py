"""Everything of chat completions that the official OpenAI SDK helps with, against real processes.

Tools, structured answers, reasoning, long answers, faults in the middle: what the SDK accumulates is compared with what
the provider was told to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import openai
import pydantic
import pytest
import trio

from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, Answering, Failure, FaultScript, say

# The SDK leaves the async generators of a finished stream to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

T = TypeVar("T")

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
THOUGHTS = ("Let me ", "think 🤔…")
ARGUMENTS = ('{"city": "Zürich", "n": 9007199254740993}', '{"city":"\\"Málaga\\""}')


class Weather(pydantic.BaseModel):
    """What structured answers are parsed into."""

    city: str
    degrees: int


class City(pydantic.BaseModel):
    """The arguments of a tool."""

    city: str
    n: int = 0


TOOL: Any = openai.pydantic_function_tool(City, name="weather")


def fragment(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "type": "function", "function": function, **more}]}


CALLING: list[dict[str, Any]] = [
    *({"reasoning_content": thought} for thought in THOUGHTS),
    {"content": "Looking"},
    {"content": " it up."},
    # An engine that repeats ids and names, and gives both calls to one index.
    *(fragment(0, character, id="call_a", name="weather") for character in ARGUMENTS[0]),
    fragment(0, "", id="call_b", name="weather"),
    *(fragment(0, character) for character in ARGUMENTS[1]),
]


def tool_loop(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Ask for two cities first, and repeat what the tools said afterwards."""
    told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not told:
        return Answer(pieces=(), deltas=CALLING, finish_reason="stop"), FaultScript()
    return Answer(pieces=told), FaultScript()


def deltas(*given: Mapping[str, Any], script: FaultScript | None = None) -> Answering:
    answer = Answer(pieces=(), deltas=given)
    return lambda _body: (answer, script or FaultScript())


async def in_thread(server: Coordinator, ask: Callable[[openai.OpenAI], T]) -> T:
    def run() -> T:
        with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=API_KEY, max_retries=0) as client:
            return ask(client)

    return await trio.to_thread.run_sync(run)


def async_client(server: Coordinator) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=API_KEY, max_retries=0)


def check_called(completion: Any) -> None:
    message = completion.choices[0].message
    calls = [(call.id, call.type, call.function.name, call.function.arguments) for call in message.tool_calls]
    assert calls == [
        ("call_a", "function", "weather", ARGUMENTS[0]),
        ("call_b", "function", "weather", ARGUMENTS[1]),
    ]
    assert message.content == "Looking it up."
    assert message.role == "assistant"
    assert message.to_dict()["reasoning_content"] == "".join(THOUGHTS)
    assert message.to_dict()["reasoning"] == "".join(THOUGHTS)
    details = message.to_dict()["reasoning_details"]
    assert [(one["text"], one["id"]) for one in details] == [("".join(THOUGHTS), "reasoning-text-0")]
    assert completion.choices[0].finish_reason == "tool_calls"


# --- tools ----------------------------------------------------------------------------------------------------------


@pytest.mark.twin_scenario
async def test_parallel_calls_are_what_the_model_made(running: Coordinator) -> None:
    asked: Any = {"model": MODEL, "messages": MESSAGES, "tools": [TOOL]}
    async with SimulatedProvider(answering=tool_loop).session(running.link_url):

        def ask(client: openai.OpenAI) -> None:
            check_called(client.chat.completions.create(**asked))
            with client.chat.completions.stream(**asked) as stream:
                final = stream.get_final_completion()
            check_called(final)
            assert final.usage is None
            with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
                final = stream.get_final_completion()
            check_called(final)
            assert final.usage is not None
            assert final.usage.total_tokens == 7 + len(CALLING)
            raw: Any = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            *_, last = list(raw)
            assert (last.choices, last.usage.total_tokens) == ([], 7 + len(CALLING))
            assert last.se_signature
            assert last.response_hash

        await in_thread(running, ask)
        async with async_client(running) as client:
            check_called(await client.chat.completions.create(**asked))
            async with client.chat.completions.stream(**asked) as stream:
                check_called(await stream.get_final_completion())


async def test_a_loop_of_tools_ends_with_their_results(running: Coordinator) -> None:
    async with SimulatedProvider(answering=tool_loop).session(running.link_url) as provider:

        def ask(client: openai.OpenAI) -> str | None:
            messages: list[Any] = [*MESSAGES]
            while True:
                completion = client.chat.completions.parse(model=MODEL, messages=messages, tools=[TOOL])
                message = completion.choices[0].message
                messages.append(message)
                if not message.tool_calls:
                    return message.content
                for call in message.tool_calls:
                    city = call.function.parsed_arguments
                    assert isinstance(city, City)
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{city.city}: 21°."})

        assert await in_thread(running, ask) == 'Zürich: 21°."Málaga": 21°.'
        async with async_client(running) as client:
            called = (await client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[TOOL])).choices[0]
            told = [
                {"role": "tool", "tool_call_id": call.id, "content": call.id}
                for call in called.message.tool_calls or []
            ]
            again: Any = [*MESSAGES, called.message, *told]
            async with client.chat.completions.stream(model=MODEL, messages=again, tools=[TOOL]) as stream:
                last = await stream.get_final_completion()
            assert last.choices[0].message.content == "call_acall_b"
    first, second, *_ = provider.bodies
    assert first["tools"][0]["function"]["strict"] is True
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [call["function"]["arguments"] for call in second["messages"][1]["tool_calls"]] == list(ARGUMENTS)


async def test_an_orphaned_result_and_a_wrong_choice_are_bad_requests(running: Coordinator) -> None:
    orphan: Any = [*MESSAGES, {"role": "tool", "tool_call_id": "nobody", "content": "42"}]
    async with SimulatedProvider(answering=say("x")).session(running.link_url), async_client(running) as client:
        with pytest.raises(openai.BadRequestError) as lost:
            await client.chat.completions.create(model=MODEL, messages=orphan)
        assert lost.value.param == "messages"
        other: Any = {"type": "function", "function": {"name": "other"}}
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[TOOL], tool_choice=other)
        assert wrong.value.param == "tool_choice"
        bad: Any = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"if": {}}}}}}
        with pytest.raises(openai.UnprocessableEntityError) as unenforceable:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=[bad], tool_choice="required")
        assert unenforceable.value.param == "tools"
        assert unenforceable.value.response.headers["x-should-retry"] == "false"


# --- structured answers ---------------------------------------------------------------------------------------------


async def test_structured_answers_are_parsed(running: Coordinator) -> None:
    truth = Weather(city='Zü"rich 🌍', degrees=21)
    answering = say(*json.dumps(truth.model_dump(), indent=1, ensure_ascii=False))
    async with SimulatedProvider(answering=answering).session(running.link_url) as provider:
        asked: Any = {"model": MODEL, "messages": MESSAGES, "response_format": Weather}
        whole = await in_thread(running, lambda client: client.chat.completions.parse(**asked))
        async with async_client(running) as client:
            other = await client.chat.completions.parse(**asked)
            async with client.chat.completions.stream(**asked) as stream:
                streamed = await stream.get_final_completion()
    for completion in (whole, other, streamed):
        assert completion.choices[0].message.parsed == truth
    wanted = provider.bodies[0]["response_format"]
    assert (wanted["type"], wanted["json_schema"]["strict"]) == ("json_schema", True)


# --- reasoning, log probabilities, refusals -------------------------------------------------------------------------


CATALOG = f"""
[[models]]
id = "{MODEL}"
features = ["reasoning"]

[[models]]
id = "plain"

[[models]]
id = "modest"
features = ["json_mode"]
max_output = 50
defaults = {{ temperature = 0.7 }}
"""


async def test_the_catalogue_says_what_a_model_is(tmp_path: Path) -> None:
    catalog = tmp_path / "models.toml"
    catalog.write_text(CATALOG)
    pieces = ("<th", "ink>two ", "and two</thi", "nk>\n\nFour", ", <b", "> I think")
    provider = SimulatedProvider(models=(MODEL, "plain", "modest"), answering=say(*pieces))
    async with (
        coordinator(tmp_path, {"DARKBLOOM_MODEL_CATALOG": str(catalog)}) as server,
        provider.session(server.link_url),
        async_client(server) as client,
    ):
        await check_thoughts(client, "".join(pieces))
        provider.bodies.clear()
        await check_abilities(client)
    assert [(body["max_tokens"], body["temperature"]) for body in provider.bodies] == [(50, 0.7), (50, 0.1)]


async def check_thoughts(client: openai.AsyncOpenAI, said: str) -> None:
    """Reasoning models think apart from what they say; others may print the tag."""
    asked: Any = {"messages": MESSAGES}
    whole = (await client.chat.completions.create(model=MODEL, **asked)).choices[0].message
    async with client.chat.completions.stream(model=MODEL, **asked) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message
    for message in (whole, streamed):
        assert message.content == "Four, <b> I think"
        assert message.to_dict()["reasoning"] == "two and two"
    plain = (await client.chat.completions.create(model="plain", **asked)).choices[0].message
    assert plain.content == said
    assert "reasoning" not in plain.to_dict()
    response = await client.responses.create(model=MODEL, input="x")
    async with client.responses.stream(model=MODEL, input="x") as events:
        final = await events.get_final_response()
    for found in (response, final):
        assert [item.type for item in found.output] == ["reasoning", "message"]
        assert found.output_text == "Four, <b> I think"


async def check_abilities(client: openai.AsyncOpenAI) -> None:
    """What a model cannot do is a bad request; what it does by default is in the body."""
    asked: Any = {"model": "modest", "messages": MESSAGES}
    with pytest.raises(openai.BadRequestError) as schema:
        await client.chat.completions.parse(**asked, response_format=Weather)
    with pytest.raises(openai.BadRequestError) as tools:
        await client.chat.completions.create(**asked, tools=[TOOL])
    with pytest.raises(openai.BadRequestError) as logprobs:
        await client.chat.completions.create(**asked, logprobs=True)
    assert (schema.value.param, tools.value.param, logprobs.value.param) == ("response_format", "tools", "logprobs")
    await client.chat.completions.create(**asked, response_format={"type": "json_object"}, max_tokens=70)
    await client.chat.completions.create(**asked, temperature=0.1)


async def test_refusals_are_kept_apart(running: Coordinator) -> None:
    provider = SimulatedProvider(answering=deltas({"refusal": "I can"}, {"refusal": "not."}))
    async with provider.session(running.link_url), async_client(running) as client:
        whole = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        async with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            final = await stream.get_final_completion()
    for completion in (whole, final):
        assert completion.choices[0].message.refusal == "I cannot."


# --- long answers and faults ----------------------------------------------------------------------------------------


async def test_a_long_answer_arrives_byte_for_byte(running: Coordinator) -> None:
    pieces = [f'{index} é🌍"\\\n<b>&\u2028' for index in range(400)]
    # The SDK's accumulator takes a millisecond for each chunk: a faster machine would be held back, then cut.
    script = FaultScript(gap_seconds=0.004)
    async with SimulatedProvider(answering=say(*pieces, script=script)).session(running.link_url):

        def ask(client: openai.OpenAI) -> str:
            asked: Any = {"model": MODEL, "messages": MESSAGES, "stream_options": {"include_usage": True}}
            with client.chat.completions.stream(**asked) as stream:
                final = stream.get_final_completion()
            assert final.usage is not None
            assert final.usage.completion_tokens == len(pieces)
            return final.choices[0].message.content or ""

        assert await in_thread(running, ask) == "".join(pieces)
        async with async_client(running) as client:
            whole = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert whole.choices[0].message.content == "".join(pieces)


async def test_a_huge_chunk_and_empty_ones(running: Coordinator) -> None:
    pieces = ("", "x" * 1_000_000 + "é", "", "<script>", "")
    provider = SimulatedProvider(answering=say(*pieces))
    async with provider.session(running.link_url), async_client(running) as client:
        whole = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        heard = ""
        asked: Any = {"model": MODEL, "messages": MESSAGES, "stream": True}
        async for chunk in await client.chat.completions.create(**asked):
            heard += chunk.choices[0].delta.content or ""
    assert whole.choices[0].message.content == heard == "".join(pieces)


@pytest.mark.parametrize("streamed_by", ["sync", "async"])
async def test_a_fault_in_the_middle_raises_behind_what_came(streamed_by: str, running: Coordinator) -> None:
    broken = FaultScript(fail_at=3, gap_seconds=0.01, failure=Failure(error="the user said hello"))
    provider = SimulatedProvider(answering=say("a", "b", "c", "d", script=broken))
    heard: list[str] = []
    asked: Any = {"model": MODEL, "messages": MESSAGES, "stream": True}

    def listen(client: openai.OpenAI) -> None:
        for chunk in client.chat.completions.create(**asked):
            heard.append(chunk.choices[0].delta.content or "")

    async def listen_async() -> None:
        async with async_client(running) as client:
            async for chunk in await client.chat.completions.create(**asked):
                heard.append(chunk.choices[0].delta.content or "")

    async with provider.session(running.link_url):
        with pytest.raises(openai.APIError) as raised:
            await (in_thread(running, listen) if streamed_by == "sync" else listen_async())
    assert "".join(heard) == "abc"
    assert (raised.value.code, raised.value.type) == ("provider_error", "provider_error")
    assert "hello" not in str(raised.value)


async def test_a_machine_that_dies_before_content_is_replaced_unseen(running: Coordinator) -> None:
    dying = SimulatedProvider(answering=say("x", script=FaultScript(die_at=0)))
    healthy = SimulatedProvider(answering=say("fine"))
    async with dying.session(running.link_url), healthy.session(running.link_url), async_client(running) as client:
        for _ in range(4):
            answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
            assert answer.choices[0].message.content == "fine"


# --- media ----------------------------------------------------------------------------------------------------------


async def test_media_on_a_text_model_and_private_urls(running: Coordinator) -> None:
    def with_image(url: str) -> Any:
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    async with SimulatedProvider(answering=say("x")).session(running.link_url), async_client(running) as client:
        with pytest.raises(openai.BadRequestError) as text_only:
            await client.chat.completions.create(model=MODEL, messages=with_image("data:image/png;base64,AA"))
        assert text_only.value.param == "messages"
    seeing = SimulatedProvider(answering=say("a cat"), reads_images=True)
    async with seeing.session(running.link_url), async_client(running) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=with_image("data:image/png;base64,AA"))
        assert answer.choices[0].message.content == "a cat"
        for url in ("http://127.0.0.1:1/x.png", "http://localhost/x.png", "http://169.254.169.254/latest"):
            with pytest.raises(openai.PermissionDeniedError) as blocked:
                await client.chat.completions.create(model=MODEL, messages=with_image(url))
            assert blocked.value.code == "media_blocked"
        with pytest.raises(openai.BadRequestError) as scheme:
            await client.chat.completions.create(model=MODEL, messages=with_image("file:///etc/passwd"))
        assert scheme.value.code == "media_invalid_scheme"
    assert len(seeing.bodies) == 1
