"""The provider's command line and daemon as their owner sees them: local server, drain, crashes, a lost coordinator."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
import trio

from tests.testbed.coordinator import coordinator
from tests.testbed.provider_cli import ProviderHome, until
from tests.testbed.real_provider import DEMO_MODEL

MESSAGES = [{"role": "user", "content": "What is Darkbloom?"}]
LONG = {"max_tokens": 900, "temperature": 1.5, "seed": 3}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[ProviderHome]:
    found = ProviderHome(tmp_path)
    yield found
    found.kill_all()


def levels(home: ProviderHome) -> dict[str, str]:
    """Check name → level of `doctor`."""
    return {check["name"]: check["level"] for check in home.run("doctor", "--json").json()["checks"]}


def test_local_mode_from_start_to_drain(home: ProviderHome) -> None:
    process = home.open("local", "--model", "demo", "--port", "0")
    info = home.local()
    with openai.OpenAI(base_url=info["base_url"], api_key=info["api_key"], max_retries=0) as client:
        _openai_sdk_works(client)
        _anthropic_sdk_works(info)
        _second_start_is_refused(home, process.pid)
        _running_daemon_is_seen(home, info)
        _sigterm_lets_the_answer_finish(client, process)
    assert process.wait(60) == 0
    status = home.run("status", "--json").json()
    assert (status["daemon"], status["state"]["phase"]) == ("not running", "stopped")
    assert levels(home)["daemon"] == "warn"
    assert not home.places.local_file.exists()
    assert home.run("local", "info", "--json").code == 1


def _openai_sdk_works(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [DEMO_MODEL]
    answer = client.chat.completions.create(model=DEMO_MODEL, messages=MESSAGES, temperature=0)  # type: ignore[arg-type]
    text = answer.choices[0].message.content
    assert text is not None
    assert "Darkbloom" in text
    with client.chat.completions.stream(
        model=DEMO_MODEL,
        messages=MESSAGES,  # type: ignore[arg-type]
        temperature=0,
        stream_options={"include_usage": True},
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == text
    assert final.usage is not None
    assert answer.usage is not None
    assert final.usage.completion_tokens == answer.usage.completion_tokens
    completion = client.completions.create(model=DEMO_MODEL, prompt="Darkbloom is", max_tokens=5)
    assert completion.usage is not None
    assert completion.usage.completion_tokens <= 5
    response = client.responses.create(model=DEMO_MODEL, input="What is Darkbloom?", temperature=0)
    assert response.output_text == text
    chosen = client.chat.completions.create(
        model=DEMO_MODEL,
        messages=MESSAGES,  # type: ignore[arg-type]
        max_tokens=20,
        logprobs=True,
        top_logprobs=2,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"enum": ["yes", "no"]}, "strict": True},
        },
    ).choices[0]
    assert json.loads(chosen.message.content or "") in ("yes", "no")
    assert chosen.logprobs is not None
    assert chosen.logprobs.content
    assert len(chosen.logprobs.content[0].top_logprobs) == 2
    with pytest.raises(openai.NotFoundError, match=DEMO_MODEL):
        client.chat.completions.create(model="other", messages=MESSAGES)  # type: ignore[arg-type]
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def _anthropic_sdk_works(info: dict[str, str]) -> None:
    base = info["base_url"].removesuffix("/v1")
    with anthropic.Anthropic(base_url=base, api_key=info["api_key"], max_retries=0) as client:
        message = client.messages.create(model=DEMO_MODEL, max_tokens=60, messages=MESSAGES)  # type: ignore[arg-type]
        assert message.content[0].type == "text"
        assert "Darkbloom" in message.content[0].text
        with client.messages.stream(model=DEMO_MODEL, max_tokens=60, messages=MESSAGES) as stream:  # type: ignore[arg-type]
            assert stream.get_final_text() == message.content[0].text


def _second_start_is_refused(home: ProviderHome, pid: int) -> None:
    second = home.run("start", "--foreground", "--local", "--model", "demo", "--port", "0")
    assert second.code == 1
    assert f"process {pid}" in second.err
    assert home.pid == pid
    again = home.run("start", "--local", "--model", "demo")
    assert (again.code, f"pid {pid}" in again.err, "fix: darkbloom restart" in again.err) == (1, True, True)


def _running_daemon_is_seen(home: ProviderHome, info: dict[str, str]) -> None:
    status = home.run("status", "--json").json()
    assert (status["daemon"], status["state"]["local"]["base_url"]) == ("running", info["base_url"].removesuffix("/v1"))
    assert status["state"]["stats"]["requests_served"] >= 5
    text = home.run("status").out
    assert "Daemon: running (pid" in text
    assert DEMO_MODEL in text
    found = levels(home)
    assert (found["daemon"], found["daemon state freshness"], found["local endpoint"]) == ("pass", "pass", "pass")
    assert (found["engine stepping"], found["account link"], found["recent crash"]) == ("pass", "warn", "pass")
    live = home.run("status", "--watch").out
    assert "tok/s" in live
    assert home.run("local", "info").out.startswith(f"Base URL: {info['base_url']}")
    metrics = home.run("run", DEMO_MODEL, "Hello")
    assert (metrics.code, bool(metrics.out.strip())) == (0, True)


def _sigterm_lets_the_answer_finish(client: openai.OpenAI, process: object) -> None:
    with client.chat.completions.create(
        model=DEMO_MODEL,
        messages=MESSAGES,  # type: ignore[arg-type]
        stream=True,
        **LONG,  # type: ignore[call-overload]
    ) as stream:
        events = iter(stream)
        next(events)
        process.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        refused = _ask_until_refused(client)
        reasons = [event.choices[0].finish_reason for event in events if event.choices]
    assert reasons[-1] in ("stop", "length")
    assert refused == "draining"


def _ask_until_refused(client: openai.OpenAI) -> str:
    """A drain begins a moment after its signal; a request behind it is refused, or finds the server gone."""
    for _ in range(50):
        try:
            client.chat.completions.create(model=DEMO_MODEL, messages=MESSAGES, max_tokens=1)  # type: ignore[arg-type]
        except openai.InternalServerError as error:
            return str(error.code)
    return "never refused"


def test_a_background_provider_stops_late_crashes_and_returns(home: ProviderHome) -> None:
    started = home.run("start", "--local", "--model", "demo", "--port", "0", "--timeout", "80")
    assert started.code == 0, started.err
    assert "The provider runs (pid" in started.out
    first = home.pid
    info = home.local()
    answers: list[int] = []

    def ask() -> None:
        """Keep a request in flight until one is refused: the command that stops may take longer than an answer."""
        with openai.OpenAI(base_url=info["base_url"], api_key=info["api_key"], max_retries=0) as client:
            for _ in range(1000):
                try:
                    answer = client.chat.completions.create(model=DEMO_MODEL, messages=MESSAGES, **LONG)  # type: ignore[call-overload]
                except openai.APIError:
                    return
                answers.append(answer.usage.completion_tokens)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    until(lambda: home.state.stats.in_flight)
    late = home.run("stop", "--timeout", "0")
    assert (late.code, "still finishes its requests" in late.err) == (1, True), late.err
    for thread in asking:
        thread.join(60)
    assert answers
    assert answers[0] > 1
    until(lambda: home.pid is None)
    assert home.run("stop").out == "The provider is not running.\n"

    assert home.run("restart", "--startup-timeout", "80").code == 0
    second = home.pid
    assert second not in (None, first)
    _kill_with_its_parent(second)
    until(lambda: home.pid is None)
    assert "it ended without a stop" in home.run("status").out
    assert levels(home)["recent crash"] == "warn"

    assert home.run("start", "--local", "--model", "demo", "--port", "0", "--timeout", "80").code == 0
    status = home.run("status", "--json").json()
    assert (status["daemon"], status["state"]["previous_crash_at"] is not None) == ("running", True)
    assert "serving programs" in home.run("logs").out
    assert home.run("stop", "--uninstall").out == "The provider has stopped.\n"
    assert not home.places.service_file.exists()
    assert home.run("restart").code == 1


def _kill_with_its_parent(pid: int | None) -> None:
    """Kill the daemon so that nothing starts it again."""
    assert pid is not None
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent = int(fields[1])
    assert b"supervise" in Path(f"/proc/{parent}/cmdline").read_bytes()
    os.kill(parent, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


async def test_a_coordinator_that_goes_is_seen_and_found_again(tmp_path: Path) -> None:
    async with coordinator(tmp_path / "c") as server:
        port = server.port
        home = ProviderHome(
            tmp_path / "p", {"DARKBLOOM_COORDINATOR_URL": server.link_url, "DARKBLOOM_HEARTBEAT_INTERVAL": "1s"}
        )
        process = home.open("serve", "--model", "demo")
        try:
            await server.routable(DEMO_MODEL, seconds=90)
            found = await trio.to_thread.run_sync(levels, home)
            assert (found["coordinator health"], found["daemon connected"]) == ("pass", "pass")
            assert found["coordinator trust"] == "pass"
            update = await trio.to_thread.run_sync(home.run, "update", "--check-only")
            assert (update.code, update.out) == (0, "No release is registered.\n")
            server.process.signal(signal.SIGKILL)
            await server.process.wait()
            await trio.to_thread.run_sync(lambda: until(lambda: not home.state.connectivity.connected))
            assert "not connected" in home.run("status").out
            found = await trio.to_thread.run_sync(levels, home)
            assert (found["coordinator health"], found["daemon connected"]) == ("fail", "fail")
            async with coordinator(tmp_path / "c", port=port, name="second") as again:
                await again.routable(DEMO_MODEL, seconds=60)
                status = (await trio.to_thread.run_sync(home.run, "status", "--json")).json()
                link = status["state"]["connectivity"]
                assert (link["connected"], link["reconnect_count"] >= 1) == (True, True)
            process.send_signal(signal.SIGTERM)
            assert await trio.to_thread.run_sync(process.wait, 30) == 0
        finally:
            home.kill_all()
            process.wait()
