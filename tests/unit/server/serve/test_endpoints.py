"""Inference endpoints outside the framework: methods, bodies, errors, and a client that leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked

from protocol.api.errors import ApiError
from server.api import Call, WholeAnswer
from server.serve.endpoints import Endpoints

PATH = "/v1/thing"


class World:
    """Endpoints over one scripted endpoint; `sent` are the events of the answer, `inner` the paths passed on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes]] = []
        self.inner: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.cancelled = trio.Event()
        self.endpoints = Endpoints(QuartTrio("x"), self._pass_on, {PATH: self.serve}, max_bytes=100, body_seconds=5.0)

    async def _pass_on(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.inner.append(scope["path"])

    async def serve(self, call: Call) -> WholeAnswer:
        body = await call.read_body()
        self.calls.append((call.headers.get("X-Kind", "none"), call.query("metadata"), body))
        if body == b"wait":
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled.set()
        if body == b"refuse":
            raise ApiError(422, "invalid_request_error", "No.", retryable=False)
        return WholeAnswer(b"{}", {"X-Timing": "1"})

    async def ask(
        self, *events: dict[str, Any], method: str = "POST", path: str = PATH, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        waiting = list(events)

        async def receive() -> dict[str, Any]:
            if not waiting:
                await trio.sleep_forever()
            return waiting.pop(0)

        async def send(event: dict[str, Any]) -> None:
            self.sent.append(event)

        pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"metadata=details", "headers": pairs}
        scope |= {"scheme": "http", "client": ("192.0.2.7", 1)}
        self.sent.clear()
        await self.endpoints(scope, receive, send)
        if not self.sent:
            return 0, {}, b""
        head, body = self.sent
        found = {name.decode(): value.decode() for name, value in head["headers"]}
        return head["status"], found, body["body"]


def body_of(data: bytes) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": False}


async def test_a_call_sees_headers_query_and_body() -> None:
    world = World()
    status, headers, body = await world.ask(body_of(b"hello"), headers={"x-kind": "a"})
    assert (status, body) == (200, b"{}")
    assert headers == {"content-type": "application/json", "content-length": "2", "x-timing": "1"}
    assert world.calls == [("a", "details", b"hello")]


async def test_other_paths_are_passed_on() -> None:
    world = World()
    await world.ask(path="/v1/things")
    assert (world.inner, world.calls, world.sent) == (["/v1/things"], [], [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_other_methods_are_405(method: str) -> None:
    world = World()
    status, headers, body = await world.ask(method=method)
    assert (status, headers["allow"]) == (405, "OPTIONS, POST")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert world.calls == []


async def test_options_names_the_methods() -> None:
    status, headers, body = await World().ask(method="OPTIONS")
    assert (status, headers["allow"], body) == (200, "OPTIONS, POST", b"")


async def test_refusals_are_the_public_envelope() -> None:
    status, headers, body = await World().ask(body_of(b"refuse"))
    assert (status, headers["x-should-retry"]) == (422, "false")
    assert json.loads(body)["error"]["message"] == "No."


@pytest.mark.parametrize("length", ["101", "9" * 5000])
async def test_an_announced_length_above_the_cap_is_413(length: str) -> None:
    status, _, body = await World().ask(headers={"content-length": length})
    assert (status, json.loads(body)["error"]["code"]) == (413, "payload_too_large")


async def test_a_client_that_leaves_cancels_its_call(nursery: trio.Nursery) -> None:
    world = World()
    left = trio.Event()
    waiting = [body_of(b"wait")]

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        world.sent.append(event)

    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": [], "scheme": "http"}
    nursery.start_soon(world.endpoints, scope, receive, send)
    await wait_all_tasks_blocked()
    assert not world.cancelled.is_set()
    left.set()
    await world.cancelled.wait()
    await wait_all_tasks_blocked()
    assert world.sent == []
