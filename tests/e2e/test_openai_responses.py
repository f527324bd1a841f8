"""The official OpenAI SDK's Responses API and legacy completions against real processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import openai
import pydantic
import pytest
import trio
from openai.types.responses import ParsedResponse, Response

from tests.testbed.coordinator import API_KEY, Coordinator, coordinator
from tests.testbed.real_provider import DEMO_MODEL, real_provider
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, Answering, Failure, FaultScript, say

# The SDK leaves the async generators of a finished stream to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

T = TypeVar("T")

PIECES = ("Hé", 'l"lo \\', "🌍\n", "!</think>")
THOUGHTS = ("Let me ", "think…")
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
TOOL_OF_CHAT: Any = {name: TOOL[name] for name in ("name", "description", "parameters", "strict")}
ARGUMENTS = ('{"city": "Zürich"}', '{"city":"Málaga"}')


class Weather(pydantic.BaseModel):
    """What structured answers are parsed into."""

    city: str
    degrees: int


def fragment(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": more.pop("name")} if "name" in more else {})
    return {"tool_calls": [{"index": index, "type": "function", "function": function, **more}]}


CALLING: list[dict[str, Any]] = [
    *({"reasoning_content": thought} for thought in THOUGHTS),
    {"content": "Looking."},
    fragment(0, "", id="call_a", name="weather"),
    fragment(1, ARGUMENTS[1][:5], id="call_b", name="weather"),
    *(fragment(0, character) for character in ARGUMENTS[0]),
    fragment(1, ARGUMENTS[1][5:]),
]


def tool_loop(body: Mapping[str, Any]) -> tuple[Answer, FaultScript]:
    """Ask for two cities first, and repeat what the tools said afterwards."""
    told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not told:
        return Answer(pieces=(), deltas=CALLING, finish_reason="tool_calls"), FaultScript()
    return Answer(pieces=told), FaultScript()


def saying_json(value: object) -> Answering:
    return say(*json.dumps(value, indent=1))


async def in_thread(server: Coordinator, ask: Callable[[openai.OpenAI], T]) -> T:
    def run() -> T:
        with openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=API_KEY, max_retries=0) as client:
            return ask(client)

    return await trio.to_thread.run_sync(run)


def async_client(server: Coordinator) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=API_KEY, max_retries=0)


def shown(response: Response | ParsedResponse[Any]) -> list[tuple[str, str]]:
    """(type, text) of each output item."""
    found: list[tuple[str, str]] = []
    for item in response.output:
        if item.type == "message":
            found.append(("message", "".join(part.text for part in item.content if part.type == "output_text")))
        elif item.type == "reasoning":
            found.append(("reasoning", "".join(part.text for part in item.summary)))
        elif item.type == "function_call":
            found.append((f"{item.call_id} {item.name}", item.arguments))
    return found


CALLED = [
    ("reasoning", "".join(THOUGHTS)),
    ("message", "Looking."),
    ("call_a weather", ARGUMENTS[0]),
    ("call_b weather", ARGUMENTS[1]),
]


# --- responses ------------------------------------------------------------------------------------------------------


@pytest.mark.twin_scenario
async def test_text_sync(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url) as provider:
        answer = await in_thread(
            running,
            lambda client: client.responses.create(
                model=MODEL, input="hi", instructions="be brief", temperature=0.5, metadata={"k": "v"}, store=True
            ),
        )

        def stream(client: openai.OpenAI) -> tuple[ParsedResponse[None], str, list[int]]:
            with client.responses.stream(model=MODEL, input="hi") as events:
                seen = list(events)
                text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
                return events.get_final_response(), text, [event.sequence_number for event in seen]

        final, text, numbers = await in_thread(running, stream)
    assert answer.output_text == final.output_text == text == "".join(PIECES)
    assert numbers == list(range(len(numbers)))
    assert answer.status == final.status == "completed"
    assert (answer.instructions, answer.temperature, answer.metadata) == ("be brief", 0.5, {"k": "v"})
    assert answer.to_dict()["store"] is False
    assert answer.model == MODEL
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, len(PIECES))
    assert answer.usage.total_tokens == 7 + len(PIECES)
    assert final.to_dict()["se_signature"]
    assert [message["role"] for message in provider.bodies[0]["messages"]] == ["system", "user"]


async def test_text_async(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url), async_client(running) as client:
        answer = await client.responses.create(model=MODEL, input=[{"role": "user", "content": "hi"}])
        assert answer.output_text == "".join(PIECES)
        raw = await client.responses.create(model=MODEL, input="hi", stream=True)
        kinds = [event.type async for event in raw]
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        async with client.responses.stream(model=MODEL, input="hi") as events:
            final = await events.get_final_response()
        assert final.output_text == "".join(PIECES)


async def test_tool_loop_sync(running: Coordinator) -> None:
    async with SimulatedProvider(answering=tool_loop).session(running.link_url) as provider:

        def ask(client: openai.OpenAI) -> tuple[Response, ParsedResponse[None], Response]:
            first = client.responses.create(model=MODEL, input="Weather?", tools=[TOOL])  # type: ignore[list-item]
            with client.responses.stream(model=MODEL, input="Weather?", tools=[TOOL]) as events:  # type: ignore[list-item]
                streamed = events.get_final_response()
            items: list[Any] = [{"role": "user", "content": "Weather?"}, *first.output]
            for item in first.output:
                if item.type == "function_call":
                    output = f"{json.loads(item.arguments)['city']}: 21°"
                    items.append({"type": "function_call_output", "call_id": item.call_id, "output": output})
            return first, streamed, client.responses.create(model=MODEL, input=items, tools=[TOOL])  # type: ignore[list-item]

        first, streamed, second = await in_thread(running, ask)
    assert shown(first) == shown(streamed) == CALLED
    assert second.output_text == "Zürich: 21°Málaga: 21°"
    sent = provider.bodies[-1]["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert sent[1]["content"] == "Looking."
    assert [one["function"]["arguments"] for one in sent[1]["tool_calls"]] == list(ARGUMENTS)
    assert provider.bodies[0]["tools"][0]["function"]["strict"] is True


async def test_tool_loop_async_with_parsed_arguments(running: Coordinator) -> None:
    class City(pydantic.BaseModel):
        city: str

    tool = openai.pydantic_function_tool(City, name="weather")
    async with SimulatedProvider(answering=tool_loop).session(running.link_url), async_client(running) as client:
        async with client.responses.stream(model=MODEL, input="Weather?", tools=[tool]) as events:
            final = await events.get_final_response()
        whole = await client.responses.parse(model=MODEL, input="Weather?", tools=[tool])
    for response in (final, whole):
        assert shown(response) == CALLED
        parsed = [item.parsed_arguments for item in response.output if item.type == "function_call"]
        assert parsed == [City(city="Zürich"), City(city="Málaga")]


async def test_structured_output(running: Coordinator) -> None:
    truth = Weather(city='Zü"rich', degrees=21)
    answering = saying_json(truth.model_dump())
    async with SimulatedProvider(answering=answering).session(running.link_url) as provider:
        parsed = await in_thread(
            running, lambda client: client.responses.parse(model=MODEL, input="Weather?", text_format=Weather)
        )
        async with (
            async_client(running) as client,
            client.responses.stream(model=MODEL, input="Weather?", text_format=Weather) as events,
        ):
            final = await events.get_final_response()
    assert parsed.output_parsed == final.output_parsed == truth
    wanted = provider.bodies[0]["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["name"] == "Weather"
    assert wanted["json_schema"]["strict"] is True
    assert set(wanted["json_schema"]["schema"]["properties"]) == {"city", "degrees"}


async def test_an_answer_that_was_cut_is_incomplete(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url), async_client(running) as client:
        answer = await client.responses.create(model=MODEL, input="hi", max_output_tokens=len(PIECES))
        assert answer.status == "incomplete"
        assert answer.incomplete_details is not None
        assert answer.incomplete_details.reason == "max_output_tokens"
        raw = await client.responses.create(model=MODEL, input="hi", max_output_tokens=len(PIECES), stream=True)
        last = [event async for event in raw][-1]
        assert last.type == "response.incomplete"
        assert last.response.output_text == "".join(PIECES)


async def test_a_fault_after_content_is_one_error_and_a_failed_response(running: Coordinator) -> None:
    script = FaultScript(fail_at=2, failure=Failure(status_code=500, failure_code="generation_failure"))
    provider = SimulatedProvider(answering=say(*PIECES, script=script))
    async with provider.session(running.link_url), async_client(running) as client:
        raw = await client.responses.create(model=MODEL, input="hi", stream=True)
        events = [event async for event in raw]
    error, failed = events[-2:]
    assert [event.type for event in events].count("error") == 1
    assert error.type == "error"
    assert error.code == "provider_error"
    assert failed.type == "response.failed"
    assert failed.response.error is not None
    assert failed.response.error.code == "server_error"
    assert failed.response.output_text == "".join(PIECES[:2])


async def test_refusals_are_typed_errors(running: Coordinator) -> None:
    async with async_client(running) as client:
        with pytest.raises(openai.BadRequestError) as stateful:
            await client.responses.create(model=MODEL, input="hi", previous_response_id="resp_1")
        assert stateful.value.param == "previous_response_id"
        with pytest.raises(openai.BadRequestError) as background:
            await client.responses.create(model=MODEL, input="hi", background=True)
        assert background.value.param == "background"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.responses.create(model="nope", input="hi", stream=True)
        assert unknown.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_1")


# --- completions ----------------------------------------------------------------------------------------------------


@pytest.mark.twin_scenario
async def test_completions(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url) as provider:
        answer = await in_thread(
            running, lambda client: client.completions.create(model=MODEL, prompt="Say hi", max_tokens=50, stop="END")
        )
        async with async_client(running) as client:
            stream = await client.completions.create(
                model=MODEL, prompt=["Say hi"], stream=True, stream_options={"include_usage": True}
            )
            chunks = [chunk async for chunk in stream]
            other = await client.completions.create(model=MODEL, prompt="Say hi")
            assert other.choices[0].text == "".join(PIECES)
            with pytest.raises(openai.BadRequestError) as tokens:
                await client.completions.create(model=MODEL, prompt=[1, 2, 3])
            with pytest.raises(openai.BadRequestError) as echo:
                await client.completions.create(model=MODEL, prompt="x", echo=True)
        heard = await in_thread(
            running,
            lambda client: [
                one.choices[0].text for one in client.completions.create(model=MODEL, prompt="Say hi", stream=True)
            ],
        )
    assert "".join(heard) == "".join(PIECES)
    assert answer.choices[0].text == "".join(PIECES)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id.startswith("cmpl-")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, len(PIECES))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "".join(PIECES)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert {(chunk.id, chunk.created) for chunk in chunks} == {(chunks[0].id, chunks[0].created)}
    assert (tokens.value.param, echo.value.param) == ("prompt", "echo")
    assert provider.bodies[0]["messages"] == [{"role": "user", "content": "Say hi"}]
    assert provider.bodies[0]["stop"] == ["END"]


# --- the demo model -------------------------------------------------------------------------------------------------


async def test_demo_model_says_the_same_in_every_dialect(tmp_path: Path) -> None:
    async with coordinator(tmp_path) as server, real_provider(tmp_path, server.link_url):
        await server.routable(DEMO_MODEL, seconds=60)
        async with async_client(server) as client:
            prompt = "What is Darkbloom?"
            chat = await client.chat.completions.create(
                model=DEMO_MODEL, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=40
            )
            truth = chat.choices[0].message.content
            asked: Any = {"model": DEMO_MODEL, "messages": [{"role": "user", "content": prompt}], "temperature": 0}
            async with client.chat.completions.stream(**asked, max_tokens=40) as chunks:
                streamed_chat = (await chunks.get_final_completion()).choices[0].message.content
            cut = await client.chat.completions.create(**asked, max_tokens=3)
            with_tools = await client.chat.completions.create(
                **asked, max_tokens=40, tools=[{"type": "function", "function": TOOL_OF_CHAT}]
            )
            response = await client.responses.create(
                model=DEMO_MODEL, input=prompt, temperature=0, max_output_tokens=40
            )
            raw = await client.responses.create(
                model=DEMO_MODEL, input=prompt, temperature=0, max_output_tokens=40, stream=True
            )
            streamed = "".join([event.delta async for event in raw if event.type == "response.output_text.delta"])
            completion = await client.completions.create(model=DEMO_MODEL, prompt=prompt, temperature=0, max_tokens=40)
            # What the chat template makes of the question: continued as it stands, it has the same answer.
            continued = await client.completions.create(
                model=DEMO_MODEL,
                prompt=f"<|user|> {prompt}<|end|><|assistant|>",
                temperature=0,
                max_tokens=40,
                extra_body={"raw": True},
            )

        def stream(client: openai.OpenAI) -> str | None:
            with client.chat.completions.stream(**asked, max_tokens=40) as chunks:
                return chunks.get_final_completion().choices[0].message.content

        streamed_sync = await in_thread(server, stream)
    assert truth
    assert streamed_chat == streamed_sync == truth
    assert cut.choices[0].finish_reason == "length"
    assert with_tools.choices[0].message.role == "assistant"
    assert response.output_text == streamed == completion.choices[0].text == truth
    assert continued.choices[0].text == truth
    assert chat.usage is not None
    assert continued.usage is not None
    assert continued.usage.total_tokens == chat.usage.total_tokens
    assert response.usage is not None
    assert response.usage.total_tokens == chat.usage.total_tokens
