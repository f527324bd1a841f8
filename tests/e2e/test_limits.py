"""What the API refuses and how it says so: sizes, keys, paths, methods, ids, and a fleet without room."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from tests.testbed.consumer import Consumer, Head, chat, chat_body, connect
from tests.testbed.coordinator import API_KEY, Coordinator, Launch
from tests.testbed.sim_provider import MODEL, SimulatedProvider
from tests.testbed.sim_script import Answer, FaultScript, SessionScript
from tests.testbed.waiting import until

CHAT = "/v1/chat/completions"
HEADERS = {"authorization": f"Bearer {API_KEY}"}
LIMIT_BYTES = 16 * 1024 * 1024
MINTED = re.compile(r"[0-9a-v]{12}")


async def answer_to(
    server: Coordinator, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = HEADERS
) -> tuple[Head, dict[str, Any]]:
    """Send one request; give the head and the JSON body of its answer."""
    with trio.fail_after(10):
        async with connect(server.port) as consumer:
            await consumer.request(method, path, body, headers)
            head = await consumer.head()
            return head, json.loads(await consumer.whole() or b"{}")


async def test_announced_body_over_the_limit_is_refused_before_it_is_sent(running: Coordinator) -> None:
    async with connect(running.port) as consumer:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {API_KEY}\r\n"
        await consumer.stream.send_all(f"{head}content-length: {LIMIT_BYTES + 1}\r\n\r\n".encode())
        with trio.fail_after(2):
            answer = (await consumer.stream.receive_some(4096)).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert '"code":"payload_too_large"' in answer


async def test_whole_body_over_the_limit_is_refused_and_the_client_reads_it(running: Coordinator) -> None:
    before = await resident_bytes(running)
    async with connect(running.port) as consumer, trio.open_nursery() as nursery:
        status: list[int] = []

        async def read() -> None:
            status.append((await consumer.head()).status)
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        try:
            await consumer.request("POST", CHAT, b"x" * (LIMIT_BYTES + 1), HEADERS)
        except trio.BrokenResourceError:  # the coordinator need not take the rest
            pass
        await until(lambda: status, seconds=5)
    assert status == [413]
    assert await resident_bytes(running) - before < LIMIT_BYTES / 2


async def resident_bytes(server: Coordinator) -> float:
    """Memory of the coordinator process."""
    return await server.metric("process_resident_memory_bytes")


async def test_chunked_body_is_cut_off_at_the_limit(running: Coordinator) -> None:
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    async with connect(running.port) as consumer, trio.open_nursery() as nursery:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {API_KEY}\r\n"
        answer: list[bytes] = []

        async def read() -> None:
            answer.append(bytes(await consumer.stream.receive_some(4096)))
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        try:
            with trio.fail_after(10):
                await consumer.stream.send_all(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
                while True:
                    await consumer.stream.send_all(piece)
        except trio.BrokenResourceError:
            await until(lambda: answer)
    assert answer[0].startswith(b"HTTP/1.1 413 ")


async def test_body_just_below_the_limit_is_served(running: Coordinator) -> None:
    provider = SimulatedProvider(token_budget=40_000_000)
    # The body for the provider is written anew, with a bound on the output, and must keep the limit too.
    prompt = "x" * (LIMIT_BYTES - 1024)
    async with provider.session(running.link_url):
        with trio.fail_after(30):
            head, _text, bodies = await chat(running.port, API_KEY, MODEL, prompt)
    assert head.status == 200, bodies
    assert provider.bodies[0]["messages"][-1]["content"] == prompt


REFUSALS: dict[str, tuple[str, str, bytes, Mapping[str, str], int, str, str]] = {
    "no-key": ("POST", CHAT, chat_body(MODEL), {}, 401, "authentication_error", "authentication_error"),
    "wrong-key": ("POST", CHAT, b"{}", {"authorization": "Bearer sk-db-no"}, 401, "authentication_error", ""),
    "no-such-path": ("GET", "/v1/no-such", b"", HEADERS, 404, "invalid_request_error", "invalid_request_error"),
    "no-such-model": ("POST", CHAT, chat_body("nope"), HEADERS, 404, "model_not_found", "model_not_found"),
    "no-such-model-entry": ("GET", "/v1/models/nope", b"", HEADERS, 404, "model_not_found", "model_not_found"),
    "wrong-method": ("GET", CHAT, b"", HEADERS, 405, "invalid_request_error", "invalid_request_error"),
    "no-json": ("POST", CHAT, b"{", HEADERS, 400, "invalid_request_error", ""),
    "no-messages": ("POST", CHAT, b'{"model":"x"}', HEADERS, 400, "invalid_request_error", ""),
    "empty": ("POST", CHAT, b"", HEADERS, 400, "invalid_request_error", ""),
    "not-utf-8": ("POST", CHAT, b'{"model":"\xff"}', HEADERS, 400, "invalid_request_error", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusal_has_the_public_envelope(running: Coordinator, name: str) -> None:
    method, path, body, headers, status, kind, code = REFUSALS[name]
    head, said = await answer_to(running, method, path, body, headers)
    assert head.status == status
    assert head.headers["content-type"] == "application/json"
    assert set(said) == {"error"}
    assert said["error"]["type"] == kind
    assert said["error"]["code"] == (code or said["error"]["code"])
    assert said["error"]["message"].endswith(".")
    assert MINTED.fullmatch(head.headers["x-request-id"])
    if status == 405:
        assert head.headers["allow"].split(", ") == ["OPTIONS", "POST"]


IDS = {"short": "a", "all-signs": "Az09._:-", "longest": "x" * 64}
BAD_IDS = {"empty": "", "too-long": "x" * 65, "space": "a b", "slash": "a/b", "quote": 'a"b', "latin": "caf\u00e9"}


@pytest.mark.parametrize("offered", IDS.values(), ids=IDS)
async def test_request_id_of_the_client_is_kept(running: Coordinator, offered: str) -> None:
    head, _said = await answer_to(running, "GET", "/v1/models", headers={**HEADERS, "x-request-id": offered})
    assert (head.headers["x-request-id"], head.headers["request-id"]) == (offered, offered)


@pytest.mark.parametrize("offered", BAD_IDS.values(), ids=BAD_IDS)
async def test_request_id_that_may_not_be_echoed_is_replaced(running: Coordinator, offered: str) -> None:
    headers: dict[str, Any] = {**HEADERS, "x-request-id": offered.encode("latin-1")}
    head, _said = await answer_to(running, "GET", "/v1/models", headers=headers)
    assert head.status == 200
    assert MINTED.fullmatch(head.headers["x-request-id"])
    assert head.headers["request-id"] == head.headers["x-request-id"]


def single_provider(gap_seconds: float) -> SimulatedProvider:
    """A provider with room for one request, that takes its time over it."""
    answer = Answer(pieces=["a", "b", "c"])
    return SimulatedProvider(
        answering=lambda _body: (answer, FaultScript(gap_seconds=gap_seconds)),
        script=SessionScript(heartbeat_seconds=3600),
        max_concurrency=1,
        decode_tps=1000.0,
    )


async def test_request_without_room_waits_and_is_served(running: Coordinator) -> None:
    texts: list[str] = []
    waited: list[int] = []

    async def ask() -> None:
        head, text, _events = await chat(running.port, API_KEY, MODEL)
        texts.append(text)
        waited.append(json.loads(head.headers["x-timing"])["queue_us"])

    provider = single_provider(0.1)
    with trio.fail_after(10):
        async with provider.session(running.link_url), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
    assert texts == ["abc"] * 3
    first, second, third = sorted(waited)
    assert first == 0
    assert second >= 200_000
    assert third >= second + 200_000


async def test_full_queue_is_refused_quickly(launch: Launch) -> None:
    async with (
        launch({"DARKBLOOM_QUEUE_MAX_DEPTH": "1"}) as server,
        single_provider(30).session(server.link_url),
        connect(server.port) as first,
        connect(server.port) as second,
    ):
        await ask_only(first)
        await first.head()
        await ask_only(second)
        with trio.fail_after(5):
            while await server.metric("darkbloom_queue_depth") != 1:
                await trio.sleep(0.01)
        with trio.fail_after(1):
            head, _text, bodies = await chat(server.port, API_KEY, MODEL)
    assert head.status == 429
    assert 2 <= int(head.headers["retry-after"]) <= 60
    assert json.loads(bodies[0])["error"]["reason"] == "queue_full"


async def ask_only(consumer: Consumer) -> None:
    """Send a chat request without waiting for an answer."""
    await consumer.request("POST", CHAT, chat_body(MODEL), HEADERS)


async def test_wait_in_the_queue_is_bounded(launch: Launch) -> None:
    async with (
        launch({"DARKBLOOM_QUEUE_MAX_WAIT": "300ms"}) as server,
        single_provider(30).session(server.link_url),
        connect(server.port) as first,
    ):
        await ask_only(first)
        await first.head()
        with trio.fail_after(2):
            head, _text, bodies = await chat(server.port, API_KEY, MODEL)
    assert head.status == 429
    assert int(head.headers["retry-after"]) >= 2
    assert json.loads(bodies[0])["error"]["reason"] == "queue_timeout"


async def test_model_whose_providers_all_left_is_refused_for_now(running: Coordinator) -> None:
    async with SimulatedProvider(models=("visitor",)).session(running.link_url):
        assert (await chat(running.port, API_KEY, "visitor"))[0].status == 200
    with trio.fail_after(5):
        while await running.metric("darkbloom_providers"):
            await trio.sleep(0.01)
    head, _text, bodies = await chat(running.port, API_KEY, "visitor")
    assert (head.status, json.loads(bodies[0])["error"]["reason"]) == (429, "no_provider")
    assert int(head.headers["retry-after"]) >= 2
