"""The official OpenAI SDK against real processes."""

from __future__ import annotations

import openai
import pytest
import trio

from tests.testbed.coordinator import API_KEY, Coordinator
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import FaultScript, say

# The SDK leaves the async generators of a finished stream to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning"),
]

PIECES = ("Hé", "llo ", "🌍", "!")
MESSAGES = [{"role": "user", "content": "Hello"}]


def sync_client(server: Coordinator, key: str = API_KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=key, max_retries=0)


def async_client(server: Coordinator) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=API_KEY, max_retries=0)


async def test_sync_answer(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url):

        def ask() -> openai.types.chat.ChatCompletion:
            with sync_client(running) as client:
                return client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]

        answer = await trio.to_thread.run_sync(ask)
    assert answer.choices[0].message.content == "".join(PIECES)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, len(PIECES))


async def test_sync_stream_accumulates(running: Coordinator) -> None:
    async with SimulatedProvider(answering=say(*PIECES)).session(running.link_url):

        def ask() -> openai.types.chat.ChatCompletion:
            with (
                sync_client(running) as client,
                client.chat.completions.stream(
                    model=MODEL,
                    messages=MESSAGES,  # type: ignore[arg-type]
                    stream_options={"include_usage": True},
                ) as stream,
            ):
                return stream.get_final_completion()

        answer = await trio.to_thread.run_sync(ask)
    assert answer.choices[0].message.content == "".join(PIECES)
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(PIECES)
    assert answer.id.startswith("chatcmpl-")


async def test_async_answer_and_stream(running: Coordinator) -> None:
    provider = SimulatedProvider(answering=say(*PIECES))
    async with provider.session(running.link_url), async_client(running) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "".join(PIECES)
        text = ""
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
        async for chunk in stream:
            assert chunk.usage is None
            text += chunk.choices[0].delta.content or ""
        assert text == "".join(PIECES)


async def test_models_list_and_retrieve(running: Coordinator) -> None:
    async with SimulatedProvider().session(running.link_url), async_client(running) as client:
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("nope")


async def test_wrong_key_and_unknown_model_raise_typed_errors(running: Coordinator) -> None:
    def ask(key: str, model: str) -> None:
        with sync_client(running, key) as client:
            client.chat.completions.create(model=model, messages=MESSAGES)  # type: ignore[arg-type]

    with pytest.raises(openai.AuthenticationError) as wrong_key:
        await trio.to_thread.run_sync(ask, "sk-db-wrong", MODEL)
    assert wrong_key.value.request_id
    with pytest.raises(openai.NotFoundError) as unknown:
        await trio.to_thread.run_sync(ask, API_KEY, "nope")
    assert unknown.value.code == "model_not_found"


async def test_bad_parameter_raises_bad_request(running: Coordinator) -> None:
    async with async_client(running) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=MODEL, messages=MESSAGES, n=2)  # type: ignore[arg-type]
    assert refused.value.param == "n"


async def test_cancelled_stream_frees_the_provider(running: Coordinator) -> None:
    pieces = [f"{index} " for index in range(1000)]
    provider = SimulatedProvider(answering=say(*pieces, script=FaultScript(gap_seconds=0.01)))
    async with provider.session(running.link_url):
        async with async_client(running) as client:
            stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
            seen = 0
            async for chunk in stream:
                seen += bool(chunk.choices[0].delta.content)
                if seen == 3:
                    break
            await stream.close()
        with trio.fail_after(2):
            while not provider.heard("cancel") or provider.running:
                await trio.sleep(0.01)
