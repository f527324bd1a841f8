"""The catalogue at work: a publisher enters builds and a name for them, machines serve them, callers see the name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import openai
import pytest
import trio

from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import SimulatedProvider
from tests.testbed.sim_script import say

PUBLISHING_KEY = "publishing-key-" + "p" * 20
SETTINGS = {"DARKBLOOM_PUBLISHING_KEY": PUBLISHING_KEY}
MESSAGES = [{"role": "user", "content": "Hello"}]
OLD, NEW = "org/model-4bit", "org/model-8bit"


@asynccontextmanager
async def publisher(server: Coordinator) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-Darkbloom-Publishing-Key": PUBLISHING_KEY}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, verify=False, trust_env=False) as client:
        yield client


async def act(client: httpx.AsyncClient, path: str, **body: object) -> None:
    answer = await client.post(f"/v1/admin/models/{path}", json=body)
    assert answer.status_code == 200, answer.text


async def names(server: Coordinator) -> list[str]:
    return [one["id"] for one in (await server.get("/v1/models")).json()["data"]]


async def ask(server: Coordinator, model: str) -> openai.types.chat.ChatCompletion:
    async with openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=API_KEY, max_retries=0) as client:
        return await client.chat.completions.create(model=model, messages=MESSAGES)  # type: ignore[arg-type]


async def test_a_name_moves_from_build_to_build(launch: Launch) -> None:
    old = SimulatedProvider(models=(OLD,), answering=say("old"))
    new = SimulatedProvider(models=(NEW, "never-heard-of"), answering=say("new"))
    async with launch(SETTINGS) as server, publisher(server) as client, old.session(server.link_url):
        await act(client, "set", model_id=OLD, display_name="Model", max_context_length=4096, max_output_length=64)
        await act(client, "set", model_id=NEW)
        await act(client, "aliases", id="chat", desired_build=OLD)
        await server.routable("chat")
        assert await names(server) == ["chat"]
        answer = await ask(server, "chat")
        assert (answer.choices[0].message.content, answer.model) == ("old", "chat")
        assert (old.bodies[-1]["model"], old.bodies[-1]["max_tokens"]) == (OLD, 64)

        await act(client, "aliases", id="chat", desired_build=NEW)
        answer = await ask(server, "chat")  # nobody has the new build yet: the old one serves
        assert (answer.choices[0].message.content, answer.model) == ("old", "chat")

        async with new.session(server.link_url):
            await server.routable("chat", 2)
            answer = await ask(server, "chat")
            assert (answer.choices[0].message.content, answer.model) == ("new", "chat")
            assert new.bodies[-1]["model"] == NEW
            direct = await ask(server, OLD)
            assert (direct.choices[0].message.content, direct.model) == ("old", OLD)
            with pytest.raises(openai.NotFoundError) as caught:
                await ask(server, "never-heard-of")
            assert caught.value.code == "model_not_found"

            answered = await client.post("/v1/admin/models/remove", json={"model_id": NEW})
            assert answered.status_code == 409
            await act(client, "aliases", id="chat", desired_build=OLD, previous_build="")
            await act(client, "remove", model_id=NEW)
            with pytest.raises(openai.NotFoundError):
                await ask(server, NEW)
            with trio.fail_after(10):
                while (await names(server)) != ["chat"]:
                    await trio.sleep(0.1)
        catalog = (await server.get("/v1/models/catalog", None)).json()
        assert [one["id"] for one in catalog["models"]] == [OLD]
        assert catalog["aliases"][0]["desired_build"] == OLD


async def test_the_operators_file_names_builds_too(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("catalog") / "models.toml"
    file.write_text(
        f'[[models]]\nid = "{OLD}"\ncontext_window = 2048\n\n[[aliases]]\nid = "chat"\ndesired_build = "{OLD}"\n'
    )
    settings = {"DARKBLOOM_MODEL_CATALOG": str(file)}
    provider = SimulatedProvider(models=(OLD, "other"), answering=say("hello"))
    async with launch(settings) as server, provider.session(server.link_url):
        await server.routable("chat")
        assert await names(server) == ["chat"]
        assert (await ask(server, "chat")).model == "chat"
        entry = (await server.get("/v1/models/chat")).json()
        assert entry["context_length"] == 2048
        resold = (await server.get("/v1/models/openrouter")).json()["data"]
        assert [one["id"] for one in resold] == ["chat"]
