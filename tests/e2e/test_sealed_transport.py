"""Sealed requests against real processes: a client from scratch, the examples of the documentation, faults, leaving."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
import trio

from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.javascript import run_module
from tests.testbed.sealed_client import KID, MNEMONIC, PUBLIC_KEY, SEALED_TYPE, SealedAsker
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import FaultScript, say

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "seal-requests.md"
PIECES = ("Hé", "llo ", "🌍", "!")
TEXT = "".join(PIECES)
MESSAGES = [{"role": "user", "content": "What is Darkbloom?"}]
SETTINGS = {"DARKBLOOM_COORDINATOR_MNEMONIC": MNEMONIC}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 20},
}


@asynccontextmanager
async def client_of(server: Coordinator, key: str = API_KEY) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": SEALED_TYPE}
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, verify=False, trust_env=False) as client:
        yield client


def example(language: str) -> str:
    """The program of the how-to in this language; there is exactly one."""
    (program,) = re.findall(rf"```{language}\n(.*?)```", HOW_TO.read_text(), flags=re.DOTALL)
    return str(program)


async def test_every_dialect_whole_and_streamed(sealed: Coordinator) -> None:
    provider = SimulatedProvider(answering=say(*PIECES))
    async with provider.session(sealed.link_url), client_of(sealed) as client:
        await sealed.routable(MODEL)
        published = (await client.get("/v1/encryption-key")).json()
        assert published == {"kid": KID, "public_key": PUBLIC_KEY, "algorithm": "x25519-nacl-box"}
        for path, members in BODIES.items():
            asker = SealedAsker(published["public_key"])
            answer = await client.post(path, content=asker.sealed({"model": MODEL, **members}))
            assert (answer.status_code, answer.headers["content-type"]) == (200, SEALED_TYPE), answer.text
            assert answer.headers["x-eigen-sealed-kid"] == KID
            assert TEXT in json.dumps(asker.open_whole(answer.content), ensure_ascii=False)
            asker = SealedAsker()
            answer = await client.post(path, content=asker.sealed({"model": MODEL, "stream": True, **members}))
            assert answer.headers["content-type"] == "text/event-stream"
            stream = asker.open_stream(answer.content)
            assert text_of(path, stream) == TEXT
            for word in (b"model", b"event", b"[DONE]", b"llo "):
                assert word not in answer.content
        assert MNEMONIC.split()[-1] not in sealed.process.text()
        assert "What is Darkbloom?" not in sealed.process.text()


def text_of(path: str, stream: bytes) -> str:
    """The text as the official SDK of the dialect accumulates it from the opened stream."""

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    if path == "/v1/messages":
        with (
            anthropic.Anthropic(api_key="x", base_url="http://x", http_client=http) as reader,
            reader.messages.stream(model=MODEL, max_tokens=1, messages=MESSAGES) as events,  # type: ignore[arg-type]
        ):
            return events.get_final_text()
    with openai.OpenAI(api_key="x", base_url="http://x", http_client=http) as client:
        if path == "/v1/responses":
            with client.responses.stream(model=MODEL, input="x") as found:
                return found.get_final_response().output_text
        if path == "/v1/completions":
            return "".join(
                one.choices[0].text for one in client.completions.create(model=MODEL, prompt="", stream=True)
            )
        with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as chunks:  # type: ignore[arg-type]
            return chunks.get_final_completion().choices[0].message.content or ""


async def test_the_documented_python_client(sealed: Coordinator, tmp_path: Path) -> None:
    provider = SimulatedProvider(answering=say(*PIECES))
    async with provider.session(sealed.link_url):
        await sealed.routable(MODEL)
        program = tmp_path / "client.py"
        program.write_text(example("python"))
        environment = {"COORDINATOR": sealed.base_url, "KEY": API_KEY, "MODEL": MODEL, "PYTHONIOENCODING": "utf-8"}
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, str(program)], env=environment, capture_stdout=True, capture_stderr=True, check=False
            )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().splitlines() == [TEXT, TEXT]


async def test_the_documented_javascript_client(sealed: Coordinator, tmp_path: Path) -> None:
    provider = SimulatedProvider(answering=say(*PIECES))
    async with provider.session(sealed.link_url):
        await sealed.routable(MODEL)
        settings = {"COORDINATOR": sealed.base_url, "KEY": API_KEY, "MODEL": MODEL}
        folder = tmp_path / "js"
        folder.mkdir()
        assert (await run_module(example("js"), folder, settings)).splitlines() == [TEXT, TEXT]


async def test_faults_of_the_envelope(launch: Launch) -> None:
    provider = SimulatedProvider(answering=say(*PIECES))
    settings = {**SETTINGS, "DARKBLOOM_SEALED_REPLAY_WINDOW": "10m"}
    async with launch(settings) as server, provider.session(server.link_url), client_of(server) as client:
        await server.routable(MODEL)
        asker = SealedAsker()
        good = asker.envelope({"model": MODEL, "messages": MESSAGES})
        faults = {
            "kid_mismatch": good | {"kid": "0" * 16},
            "decryption_failed": good | {"ciphertext": good["ciphertext"][:-8]},
            "invalid_sealed_envelope": good | {"messages": MESSAGES},
        }
        for code, envelope in faults.items():
            answer = await client.post("/v1/chat/completions", json=envelope, headers={"Content-Type": SEALED_TYPE})
            assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
            assert answer.json()["error"]["code"] == code
        assert provider.bodies == []
        first = await client.post("/v1/chat/completions", content=json.dumps(good))
        assert first.status_code == 200
        again = await client.post("/v1/chat/completions", content=json.dumps(good))
        assert (again.status_code, again.json()["error"]["code"]) == (400, "replayed_request")
        unknown = SealedAsker()
        answer = await client.post("/v1/chat/completions", content=unknown.sealed({"model": "x", "messages": MESSAGES}))
        assert (answer.status_code, answer.headers["content-type"]) == (404, SEALED_TYPE)
        assert unknown.open_whole(answer.content)["error"]["code"] == "model_not_found"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # httpx leaves what it did not read
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_a_client_that_leaves_cancels_the_generation(sealed: Coordinator) -> None:
    provider = SimulatedProvider(answering=say(*["word "] * 2000, script=FaultScript(gap_seconds=0.02)))
    async with provider.session(sealed.link_url), client_of(sealed) as client:
        await sealed.routable(MODEL)
        body = SealedAsker().sealed({"model": MODEL, "messages": MESSAGES, "stream": True})
        async with client.stream("POST", "/v1/chat/completions", content=body) as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_raw())
            assert len(provider.running) == 1
        with trio.fail_after(10):
            while provider.running:
                await trio.sleep(0.02)


@pytest.mark.parametrize("padded", [False, True])
async def test_a_long_stream_opens_event_by_event(sealed: Coordinator, padded: bool) -> None:
    words = [f"w{number} " for number in range(400)]
    async with (
        SimulatedProvider(answering=say(*words)).session(sealed.link_url),
        client_of(sealed) as client,
    ):
        await sealed.routable(MODEL)
        asker = SealedAsker()
        headers = {"X-Darkbloom-Pad": "1", "X-Darkbloom-Count": "1"} if padded else {}
        body = asker.sealed({"model": MODEL, "messages": MESSAGES, "stream": True})
        answer = await client.post("/v1/chat/completions", content=body, headers=headers)
        stream = asker.open_stream(answer.content)
        assert text_of("/v1/chat/completions", stream) == "".join(words)
        if padded:
            events = asker.open_events(answer.content)
            assert [int(event[2 : event.index(b"\n")]) for event in events] == list(range(len(events)))
