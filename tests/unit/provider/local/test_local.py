"""The local server in front of a scripted engine: dialects, failures, guards, and what it leaves behind."""

import json
import math
import os
import stat
import time

import pytest
import trio

from protocol.messages.from_provider import InferenceComplete, Usage
from provider.control import Drain, Load, Switch, Unload, ask
from provider.control.orders import OfferedFolder
from provider.daemon import DaemonRefused
from provider.daemon.shelf import DaemonShelf
from provider.engine import Cause
from provider.local import LocalOptions, read_local_info
from provider.local.ollama import OllamaAnswer
from provider.status.state_file import read_state
from tests.testbed.fake_engine import Script, finished_with
from tests.testbed.waiting import until
from tests.unit.provider.local.conftest import TOKEN


def scripted(**fields):
    return lambda request: Script() if request.warm_up else Script(**fields)


def events(text):
    return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


async def test_a_chat_answer_in_one_piece(open_local):
    async with open_local(scripted(pieces=("Hel", "lo"))) as local:
        answer = (await local.chat()).json()
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Hello"}
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] == 3
        assert local.control.in_flight == 0


async def test_a_streamed_chat_answer(open_local):
    async with open_local(scripted(pieces=("Hel", "lo"))) as local:
        found = await local.chat(stream=True, stream_options={"include_usage": True})
        assert found.headers["content-type"] == "text/event-stream"
        told = events(found.text)
        assert told[-1] == "[DONE]"
        chunks = [json.loads(entry) for entry in told[:-1]]
        text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        assert text == "Hello"
        assert chunks[-1]["usage"]["completion_tokens"] == 3
        assert len({c["id"] for c in chunks}) == 1


async def test_the_other_dialects_answer_too(open_local):
    async with open_local(scripted(pieces=("Hel", "lo"))) as local:
        text = (await local.http.post("/v1/completions", json={"model": "bytes", "prompt": "hi"})).json()
        assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "Hello")
        response = (await local.http.post("/v1/responses", json={"model": "bytes", "input": "hi"})).json()
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["text"] == "Hello"
        body = {"model": "bytes", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
        message = (await local.http.post("/v1/messages", json=body)).json()
        assert (message["type"], message["content"][0]["text"]) == ("message", "Hello")
        streamed = await local.http.post("/v1/messages", json={**body, "stream": True})
        assert "event: message_stop" in streamed.text


async def test_ollama_clients_are_answered(open_local):
    async with open_local(scripted(pieces=("Hel", "lo"))) as local:
        tags = (await local.http.get("/api/tags")).json()
        assert [model["name"] for model in tags["models"]] == ["bytes"]
        chat = {"model": "bytes:latest", "messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": 9}}
        lines = [json.loads(line) for line in (await local.http.post("/api/chat", json=chat)).text.splitlines()]
        assert "".join(line["message"]["content"] for line in lines) == "Hello"
        assert (lines[-1]["done"], lines[-1]["done_reason"], lines[-1]["eval_count"]) == (True, "stop", 3)
        assert local.engine.requests[-1].max_tokens == 9
        ask_once = {"model": "bytes", "prompt": "hi", "system": "be brief", "stream": False, "keep_alive": 0}
        whole = (await local.http.post("/api/generate", json=ask_once)).json()
        assert (whole["response"], whole["done"]) == ("Hello", True)
        assert local.engine.snapshot().slots == ()
        refused = await local.http.post(
            "/api/chat", json={"model": "other", "messages": [{"role": "user", "content": "x"}]}
        )
        assert refused.status_code == 404
        assert "there is: bytes" in refused.json()["error"]


async def test_ollama_clients_say_how_long_a_model_stays(open_local, monkeypatch):
    kept, keep = [], DaemonShelf.keep

    def note(shelf, model_id, seconds):
        kept.append((model_id, seconds))
        keep(shelf, model_id, seconds)

    monkeypatch.setattr(DaemonShelf, "keep", note)
    async with open_local(settings={"DARKBLOOM_HEARTBEAT_INTERVAL": "1s"}) as local:
        for fields in ({"keep_alive": -1}, {}, {"keep_alive": "5h", "stream": False}):
            answer = await local.http.post("/api/generate", json={"model": "bytes", "prompt": "hi", **fields})
            assert answer.status_code == 200
        assert kept == [("bytes", math.inf), ("bytes", None), ("bytes", 18000.0)]
        wrong = await local.http.post("/api/generate", json={"model": "bytes", "prompt": "hi", "keep_alive": "soon"})
        assert wrong.status_code == 400
        assert "keep_alive" in wrong.json()["error"]

        def is_told():
            (slot,) = read_state(local.home / "daemon-state.json").slots
            return slot.unloads_at is not None and slot.unloads_at > time.time() + 4 * 3600

        await until(is_told)


async def test_a_model_in_use_goes_later_when_an_ollama_client_lets_it_go(open_local, monkeypatch):
    shelves = []

    async def in_use(shelf, model_id):
        shelves.append(shelf)
        return False

    monkeypatch.setattr(DaemonShelf, "unload", in_use)
    async with open_local() as local:
        for keep_alive in (-1, 0):
            fields = {"model": "bytes", "prompt": "hi", "keep_alive": keep_alive}
            assert (await local.http.post("/api/generate", json=fields)).status_code == 200
        (shelf,) = shelves
        assert shelf._slots.idle_span("bytes", 60.0) == 0


async def test_a_tool_call_that_was_cut_short_is_none_to_ollama_clients():
    fragment = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [fragment]}}]})
    answer = OllamaAnswer("chat", "m", "ab", started=0.0, created=0.0)
    answer.feed(b"data: " + chunk.encode() + b"\n\n")
    complete = InferenceComplete(request_id="r", usage=Usage(prompt_tokens=1, completion_tokens=9))
    whole = json.loads(answer.whole(complete, requested_max=9, now=1.0))
    assert "tool_calls" not in whole["message"]
    assert whole["done_reason"] == "length"


async def test_health_is_open_and_says_when_the_engine_is_stuck(open_local):
    async with open_local() as local:
        for path in ("/", "/health", "/v1/health"):
            found = await local.http.get(path, headers={"Authorization": ""})
            assert (found.status_code, found.json()["status"], found.json()["models"]) == (200, "ok", ["bytes"])
        local.engine.health = local.engine.health.CRASHED
        assert (await local.http.get("/health")).status_code == 503


async def test_models_tokens_metrics_and_what_is_not_offered(open_local):
    async with open_local() as local:
        http = local.http
        assert [model["id"] for model in (await http.get("/v1/models")).json()["data"]] == ["bytes"]
        assert (await http.get("/v1/models/bytes")).json()["object"] == "model"
        assert (await http.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()["has_more"] is False
        tokens = (await http.post("/tokenize", json={"prompt": "hi"})).json()
        assert tokens["count"] == len(tokens["tokens"])
        await local.chat()
        metrics = (await http.get("/metrics")).text
        assert 'darkbloom_provider_requests_total{model="bytes",outcome="complete",source="local"} 1.0' in metrics
        embeddings = await http.post("/v1/embeddings", json={})
        assert (embeddings.status_code, embeddings.json()["error"]["code"]) == (501, "embeddings_not_configured")
        assert (await http.get("/nothing")).status_code == 404
        wrong = await http.get("/v1/chat/completions")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert (await http.request("OPTIONS", "/v1/models")).status_code == 204


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Bearer {TOKEN}x", "Basic abc"])
async def test_without_the_token_nothing_is_told(open_local, authorization):
    async with open_local() as local:
        found = await local.http.get("/v1/models", headers={"Authorization": authorization})
        assert found.status_code == 401
        assert found.json()["error"]["code"] == "invalid_api_key"
        assert found.headers["access-control-allow-origin"] == "*"
        assert (
            await local.http.get("/v1/models", headers={"Authorization": "", "x-api-key": TOKEN})
        ).status_code == 200


async def test_without_the_token_no_body_is_read(open_local):
    async with open_local() as local:
        connection = await trio.open_tcp_stream("127.0.0.1", int(local.url.rpartition(":")[2]))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        await connection.send_all(head)
        answer = b""
        while piece := await connection.receive_some():
            answer += piece
        assert answer.startswith(b"HTTP/1.1 401")
        await connection.aclose()


async def test_a_refusal_reaches_a_client_that_is_still_sending(open_local):
    async with open_local() as local:
        for _ in range(5):
            found = await local.http.post("/v1/chat/completions", content=b"x" * 500_000, headers={"Authorization": ""})
            assert found.status_code == 401


async def test_a_rebound_name_is_refused(open_local):
    async with open_local() as local:
        found = await local.http.get("/v1/models", headers={"Host": "evil.example"})
        assert (found.status_code, found.json()["error"]["code"]) == (403, "host_not_allowed")
        for host in ("localhost:1", "127.0.0.1", "[::1]:8000"):
            assert (await local.http.get("/v1/models", headers={"Host": host})).status_code == 200


async def test_without_a_token_foreign_pages_are_refused(open_local):
    async with open_local(options=LocalOptions(port=0, token=None, is_required=True)) as local:
        bare = {"Authorization": ""}
        assert (await local.http.get("/v1/models", headers=bare)).status_code == 200
        foreign = await local.http.get("/v1/models", headers={**bare, "Origin": "https://evil.example"})
        assert (foreign.status_code, "access-control-allow-origin" in foreign.headers) == (403, False)
        own = await local.http.get("/v1/models", headers={**bare, "Origin": "http://localhost:3000"})
        assert own.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "other", "messages": [{"role": "user", "content": "x"}]}, 404, "model_not_found"),
        ({"model": "bytes"}, 400, "invalid_request_error"),
        ({"model": "bytes", "messages": [{"role": "alien", "content": "x"}]}, 400, "invalid_request_error"),
        ({"model": "bytes", "messages": [{"role": "user", "content": "x"}], "n": 2}, 400, "invalid_request_error"),
    ],
)
async def test_wrong_requests_are_refused_in_words(open_local, body, status, code):
    async with open_local() as local:
        found = await local.http.post("/v1/chat/completions", json=body)
        assert (found.status_code, found.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("cause", "status", "code"),
    [
        (Cause.QUEUE_FULL, 429, "rate_limit_exceeded"),
        (Cause.TOKEN_BUDGET_EXHAUSTED, 429, "rate_limit_exceeded"),
        (Cause.REQUEST_EXCEEDS_CONTEXT, 400, "context_length_exceeded"),
        (Cause.REQUEST_EXCEEDS_NODE_BUDGET, 400, "request_exceeds_node_budget"),
        (Cause.ENGINE_ERROR, 500, "internal_error"),
    ],
)
async def test_failures_of_the_engine_keep_their_meaning(open_local, cause, status, code):
    async with open_local(lambda request: Script() if request.warm_up else finished_with(cause)) as local:
        for stream in (False, True):
            found = await local.chat(stream=stream)
            assert (found.status_code, found.json()["error"]["code"]) == (status, code)


async def test_a_failure_after_output_is_an_error_event_and_no_done(open_local):
    async with open_local(scripted(pieces=("a",) * 50, delay=0.02)) as local:
        async with local.http.stream(
            "POST",
            "/v1/chat/completions",
            json={"model": "bytes", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        ) as answer:
            text = ""
            async for piece in answer.aiter_text():
                text += piece
                if '"content":"a"' in text and local.engine.live:
                    local.engine.fail_all()
        assert '"error"' in text
        assert "[DONE]" not in text


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_its_row(open_local, stream):
    async with open_local(scripted(pieces=("a",) * 1000, delay=0.02)) as local:
        body = json.dumps({"model": "bytes", "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
        connection = await trio.open_tcp_stream("127.0.0.1", int(local.url.rpartition(":")[2]))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        await connection.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if stream:
            assert b"200" in await connection.receive_some()
        await until(lambda: local.engine.live == 1)
        await connection.aclose()
        await until(lambda: local.engine.live == 0 and local.control.in_flight == 0)


async def test_eight_streams_at_once(open_local):
    async with open_local(scripted(pieces=("a", "b", "c"), delay=0.01)) as local:
        texts = []

        async def one():
            texts.append(events((await local.chat(stream=True)).text)[-1])

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(one)
        assert texts == ["[DONE]"] * 8


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(open_local):
    async with open_local() as local:
        found = await local.http.post("/v1/chat/completions", content=b"x" * (32 * 1024 * 1024 + 1))
        assert (found.status_code, found.json()["error"]["code"]) == (413, "payload_too_large")


async def test_discovery_is_written_after_the_socket_and_goes_with_it(open_local):
    async with open_local() as local:
        path = local.home / "local.json"
        info = read_local_info(path)
        assert (info.base_url, info.api_key, info.pid) == (f"{local.url}/v1", TOKEN, os.getpid())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        local.control.drain()
        await local.ended.wait()
        assert local.code == 0
        assert not path.exists()


async def test_any_address_is_shown_as_this_machine():
    assert LocalOptions(bind="0.0.0.0").base_url(8000) == "http://127.0.0.1:8000"
    assert LocalOptions(bind="::1").base_url(8000) == "http://[::1]:8000"
    assert LocalOptions(bind="0.0.0.0").is_public
    assert not LocalOptions().is_public


async def test_a_busy_port_ends_a_start_that_needs_it(open_local):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    options = LocalOptions(port=port, token=TOKEN, is_required=True)
    with pytest.raises(BaseExceptionGroup) as group:
        async with open_local(options=options):
            raise AssertionError
    refused = group.value.exceptions[0]
    assert isinstance(refused, DaemonRefused)
    assert f"port {port}" in str(refused)
    assert refused.exit_code == 1
    await listeners[0].aclose()


async def test_a_drain_lets_answers_finish_and_takes_no_new_ones(open_local):
    async with open_local(scripted(pieces=("a",) * 20, delay=0.02)) as local:
        answers = []

        async def slow():
            answers.append(await local.chat())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            await until(lambda: local.control.in_flight == 1)
            told = await trio.to_thread.run_sync(lambda: ask(local.home, Drain()))
            assert (told.done, told.in_flight) == (True, 1)
            refused = await local.chat()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            await local.ended.wait()
        assert answers[0].json()["choices"][0]["message"]["content"] == "a" * 20
        assert local.code == 0
        state = read_state(local.home / "daemon-state.json")
        assert (state.phase, state.stopped_at is not None) == ("stopped", True)
        assert json.loads((local.home / "loaded-models.json").read_text()) == {"models": ["bytes"]}


async def test_orders_load_unload_and_switch(open_local, tmp_path):
    async with open_local(models=("bytes", "second"), settings={"DARKBLOOM_MAX_MODEL_SLOTS": "1"}) as local:

        async def order(wanted):
            return await trio.to_thread.run_sync(lambda: ask(local.home, wanted))

        loaded = [slot.model for slot in local.engine.snapshot().slots]
        other = "second" if loaded == ["bytes"] else "bytes"
        assert (await order(Load(model=other))).done
        assert [slot.model for slot in local.engine.snapshot().slots] == [other]
        assert (await order(Unload(model=other))).done
        again = await order(Unload(model=other))
        assert (again.done, "not loaded" in again.error) == (False, True)
        unknown = await order(Load(model="third"))
        assert "is not offered" in unknown.error
        folder = OfferedFolder(model="renamed", directory=str(tmp_path / "bytes"))
        assert (await order(Switch(models=(folder,)))).done
        assert [model["id"] for model in (await local.http.get("/v1/models")).json()["data"]] == ["renamed"]
        assert (await local.chat(model="bytes")).status_code == 404
        assert (await local.chat(model="renamed")).status_code == 200
        empty = await order(Switch(models=(OfferedFolder(model="x", directory="/nonexistent"),)))
        assert "holds no model" in empty.error
        assert (await local.chat(model="renamed")).status_code == 200


CANARY = "xyzzy-canary-81723"


async def test_no_prompt_and_no_answer_is_written_anywhere(open_local, caplog):
    caplog.set_level("DEBUG")
    async with open_local(scripted(pieces=(CANARY, "-answer"))) as local:
        messages = [{"role": "user", "content": CANARY}]
        assert CANARY in (await local.chat(messages=messages)).text
        assert CANARY in (await local.chat(messages=messages, stream=True)).text
        wrong = [{"role": CANARY, "content": CANARY}]
        assert CANARY not in (await local.chat(messages=wrong)).text
        metrics = (await local.http.get("/metrics")).text
        local.control.drain()
        await local.ended.wait()
        files = [path for path in local.home.rglob("*") if path.is_file()]
        assert files
        assert not any(CANARY.encode() in path.read_bytes() for path in files)
    assert CANARY not in caplog.text + metrics
