"""`POST /v1/chat/completions` through the whole application."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol.messages.from_provider import ModelEntry
from server.accounts import AuthRefusal, Identity
from server.api.inference import cache_scope
from server.registry import CatalogEntry
from server.relay import Outcome
from tests.unit.server.api.site import KEY, MESSAGES, Site, error_of, open_site
from tests.unit.server.registry.fleet import register_message, trusted
from tests.unit.server.relay.relay_world import MODEL, Served, delta, failing, saying, silent

PATH = "/v1/chat/completions"


async def test_stream(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        channel = site.world.provider("p", saying("Hel", "lo"))
        status, headers, body = await site.chat(stream=True, stream_options={"include_usage": True})
        assert status == 200
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-request-id"] == headers["request-id"]
        assert headers["x-provider-id"] == "p"
        assert json.loads(headers["x-timing"])["total_us"] >= 0
        events = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
        assert events[-1] == "[DONE]"
        assert json.loads(events[-2])["usage"]["total_tokens"] == 5
        assert json.loads(events[0])["created"] == 1_780_000_000
        assert json.loads(events[0])["id"] == f"chatcmpl-{headers['x-inference-job-id']}"
        assert channel.seen[0].body["max_tokens"] == 8192
        record = await site.world.settled()
        assert record.account_id is not None
        assert record.account_id.startswith("acct_")


async def test_answer_in_one_piece(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("Hello"))
        status, headers, body = await site.chat(max_completion_tokens=50, stop="X", temperature=0.5)
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert json.loads(body)["choices"][0]["message"]["content"] == "Hello"
        assert json.loads(body)["model"] == MODEL
        sent = site.world.channels["p"].seen[0].body
        assert (sent["max_tokens"], sent["stop"], sent["stream"]) == (50, ["X"], False)


@pytest.mark.parametrize("how", ["header", "query", "body"])
async def test_metadata_only_when_asked_for(how: str, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        assert "metadata" not in json.loads((await site.chat())[2])
        body = {"model": MODEL, "messages": MESSAGES} | ({"metadata_details": True} if how == "body" else {})
        path = PATH + ("?metadata=details" if how == "query" else "")
        extra = {"X_Darkbloom_Metadata_Details": "True"} if how == "header" else {}
        _, _, answer = await site.ask("POST", path, body=body, **extra)
        assert json.loads(answer)["metadata"]["provider_id"] == "p"


@pytest.mark.parametrize("key", [None, "", "wrong", "' OR 1=1 --"])
async def test_no_good_key_is_401_before_anything_else(key: str | None, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, headers, body = await site.ask("POST", PATH, body=b"{bad", key=key)
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="darkbloom"')
        assert error_of(body)["code"] == "authentication_error"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("key_disabled", 401), ("key_expired", 401), ("key_revoked", 401), ("account_suspended", 403)],
)
async def test_a_key_that_was_good_once_says_what_became_of_it(
    code: str, expected: int, autojump_clock: MockClock
) -> None:
    async with open_site() as site:
        site.keys.special["old"] = AuthRefusal(code)  # type: ignore[arg-type]
        status, _, body = await site.ask("POST", PATH, body={}, key="old")
        assert (status, error_of(body)["code"]) == (expected, code)


async def test_x_api_key_works_too(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        body = {"model": MODEL, "messages": MESSAGES}
        status, _, _ = await site.ask("POST", PATH, body=body, key=None, x_api_key=KEY)
        assert status == 200


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"", 400, None),
        (b"{bad", 400, None),
        (b"[]", 400, None),
        ({"messages": MESSAGES}, 400, "model"),
        ({"model": MODEL}, 400, "messages"),
        ({"model": MODEL, "messages": []}, 400, "messages"),
        ({"model": MODEL, "messages": MESSAGES, "n": 2}, 400, "n"),
        ({"model": MODEL, "messages": MESSAGES, "max_tokens": -1}, 400, "max_tokens"),
        ({"model": "x" * 1000, "messages": MESSAGES}, 404, "model"),
        ({"model": "модель\r\nX-Injected: true", "messages": MESSAGES}, 404, "model"),
    ],
)
async def test_bad_requests_reach_no_provider(
    body: object, status: int, param: str | None, autojump_clock: MockClock
) -> None:
    async with open_site() as site:
        channel = site.world.provider("p", saying("x"))
        got, headers, answer = await site.ask("POST", PATH, body=body)
        assert got == status
        assert error_of(answer).get("param") == param
        assert headers["content-type"] == "application/json"
        assert "x-injected" not in headers
        assert channel.seen == []
        assert site.world.ledger.records == []


async def test_a_body_over_the_cap_is_413(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, _, body = await site.chat(padding="x" * 5000)
        assert (status, error_of(body)["code"]) == (413, "payload_too_large")


async def test_an_allow_list_is_403_for_other_models(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.keys.special["few"] = Identity(account_id="a", key_id="k", allowed_models=frozenset({"other"}))
        body = {"model": MODEL, "messages": MESSAGES, "max_tokens": -1}
        status, _, answer = await site.ask("POST", PATH, body=body, key="few")
        assert (status, error_of(answer)["type"], error_of(answer)["param"]) == (403, "model_not_allowed", "model")


async def test_media_on_a_text_model_is_400(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
        status, _, body = await site.chat(messages=[{"role": "user", "content": [part]}])
        assert (status, error_of(body)["param"]) == (400, "messages")


async def test_media_with_a_forced_tool_is_400(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        message = register_message(ModelEntry(id=MODEL, is_vision=True))
        now = trio.current_time()
        site.world.registry.register(
            session_id="q",
            message=message,
            channel=site.world.channels["p"],
            stable_id="q",
            account_id=None,
            trust=trusted(now),
            now=now,
        )
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
        tools = [{"type": "function", "function": {"name": "f"}}]
        messages = [{"role": "user", "content": [part]}]
        status, _, body = await site.chat(messages=messages, tools=tools, tool_choice="required")
        assert (status, error_of(body)["param"]) == (400, "tool_choice")


async def test_a_provider_failure_shows_our_text_only(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", failing(status_code=500, error="the user wrote hello"))
        status, _, body = await site.chat()
        assert (status, error_of(body)["type"]) == (502, "provider_error")
        assert b"hello" not in body


async def test_lack_of_capacity_is_429_with_whole_seconds(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", failing(failure_code="capacity", error_reason="queue_full"))
        status, headers, body = await site.chat()
        assert status == 429
        assert int(headers["retry-after"]) >= 2
        assert error_of(body)["retry_after_ms"] >= 2000
        assert "x-timing" not in headers


async def test_draining_refuses_new_requests_and_lets_running_ones_finish(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("a", "b", pause=1))
        answers: list[tuple[int, bytes]] = []

        async def first() -> None:
            status, _, body = await site.chat(stream=True)
            answers.append((status, body))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await wait_all_tasks_blocked()
            assert site.drain.inflight == 1
            site.drain.set(draining=True)
            status, headers, _ = await site.ask("POST", PATH, body=b"{bad", key=None)
            assert (status, headers["retry-after"]) == (429, "3")
            assert (await site.ask("GET", "/readyz"))[0] == 503
            assert (await site.ask("GET", "/health"))[0] == 200
        ((status, body),) = answers
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")
        assert site.drain.inflight == 0


async def test_a_client_that_leaves_frees_everything(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        channel = site.world.provider("p", silent)
        with trio.move_on_after(1):
            await site.chat()
        assert site.world.reserved() == 0
        assert len(channel.cancels) == 1
        assert (await site.world.settled()).outcome is Outcome.CLIENT_GONE


async def test_self_route_uses_own_machines_only(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        body = {"model": MODEL, "messages": MESSAGES}
        status, _, answer = await site.ask("POST", PATH, body=body, X_Darkbloom_Route=" SELF ")
        assert (status, error_of(answer)["type"]) == (503, "machine_offline")
        site.keys.special["owner"] = Identity(account_id="owner", key_id="k", self_route_only=True)
        assert (await site.ask("POST", PATH, body=body, key="owner"))[0] == 200


async def test_the_default_bound_leaves_the_prompt_its_room(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        site.world.registry.set_catalog([CatalogEntry(id=MODEL, context_window=4096)], trio.current_time())
        assert (await site.chat())[0] == 200
        assert site.world.channels["p"].seen[0].body["max_tokens"] == 4096 - 5
        status, _, body = await site.chat(max_tokens=5000)
        assert (status, error_of(body)["code"]) == (400, "context_length_exceeded")


def test_cache_scope_is_one_per_account_and_build() -> None:
    scopes = {cache_scope(secret, account, build) for secret in (b"1", b"2") for account in "ab" for build in "mn"}
    assert len(scopes) == 8
    assert cache_scope(b"1", "a", "m") == cache_scope(b"1", "a", "m")


async def test_exact_numbers_reach_the_provider(autojump_clock: MockClock) -> None:
    bodies: list[bytes] = []

    async def script(served: Served) -> None:
        bodies.append(json.dumps(served.body).encode())
        served.say(delta("x"))
        served.complete()

    async with open_site() as site:
        site.world.provider("p", script)
        tools = b'[{"type":"function","function":{"name":"f","parameters":{"const":9007199254740993}}}]'
        raw = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":' + tools + b"}"
        assert (await site.ask("POST", PATH, body=raw))[0] == 200
        assert b"9007199254740993" in bodies[0]


async def _models(site: Site) -> list[str]:
    _, _, body = await site.ask("GET", "/v1/models")
    return [entry["id"] for entry in json.loads(body)["data"]]


async def test_models_lists_what_is_offered_and_allowed(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        assert await _models(site) == []
        site.world.provider("p", saying("x"))
        assert await _models(site) == [MODEL]
        _, _, body = await site.ask("GET", f"/v1/models/{MODEL}")
        entry = json.loads(body)
        assert (entry["object"], entry["metadata"]["provider_count"]) == ("model", 1)
        assert entry["metadata"]["can_accept"] is True
        assert entry["metadata"]["trust_level"] == "hardware"
        site.keys.special["few"] = Identity(account_id="a", key_id="k", allowed_models=frozenset())
        assert (await site.ask("GET", f"/v1/models/{MODEL}", key="few"))[0] == 404


async def test_models_with_slashes_and_unknown_ones(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        channel = site.world.provider("p", saying("x"))
        now = trio.current_time()
        site.world.registry.register(
            session_id="q",
            message=register_message(ModelEntry(id="org/name")),
            channel=channel,
            stable_id="q",
            account_id=None,
            trust=trusted(now),
            now=now,
        )
        assert (await site.ask("GET", "/v1/models/org/name"))[0] == 200
        status, _, body = await site.ask("GET", "/v1/models/org/other")
        assert (status, error_of(body)["code"]) == (404, "model_not_found")


async def test_models_needs_a_key_and_capacity_does_not(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        assert (await site.ask("GET", "/v1/models", key=None))[0] == 401
        status, _, body = await site.ask("GET", "/v1/models/capacity", key=None)
        (row,) = json.loads(body)["models"]
        assert (status, row["id"], row["can_accept"], row["queue_limit"]) == (200, MODEL, True, 32)


async def test_models_in_anthropic_shape(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        _, _, body = await site.ask("GET", "/v1/models", anthropic_version="2023-06-01")
        listed = json.loads(body)
        assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (MODEL, MODEL, False)
        assert listed["data"][0]["type"] == "model"


async def test_health_and_readiness(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        _, _, body = await site.ask("GET", "/health", key=None)
        assert json.loads(body) == {"status": "ok", "providers": 1, "version": "1.2.3", "build_commit": "dev"}
        status, _, body = await site.ask("GET", "/readyz", key=None)
        assert (status, json.loads(body)) == (200, {"draining": False, "inflight": 0, "ready": True})


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_another_method_is_405_with_allow(method: str, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, headers, body = await site.ask(method, PATH)
        assert status == 405
        assert "POST" in headers["allow"]
        assert error_of(body)["type"] == "invalid_request_error"


async def test_a_compressed_body_is_415_and_reaches_no_provider(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, _, body = await site.ask("POST", PATH, body=b"\x1f\x8b", Content_Encoding="gzip")
        assert (status, error_of(body)["code"]) == (415, "unsupported_content_encoding")


async def test_an_unknown_path_is_404_in_the_envelope(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, headers, body = await site.ask("GET", "/v1/unknown")
        assert (status, error_of(body)["type"]) == (404, "invalid_request_error")
        assert headers["x-request-id"]
        status, _, body = await site.ask("POST", f"/{PATH}")
        assert status == 404
        assert f"POST /{PATH};" in error_of(body)["message"]


async def test_a_head_that_cannot_be_sent_frees_the_capacity_at_once(autojump_clock: MockClock) -> None:
    async def endless(served: Served) -> None:
        served.say(delta("x"))
        await served.cancelled.wait()
        served.complete()

    async with open_site() as site:
        site.world.provider("p", endless)
        head = trio.Event()
        body = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True}).encode()
        requests = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> object:
            for message in requests:
                return message
            await head.wait()
            return {"type": "http.disconnect"}

        async def send(message: object) -> None:
            head.set()
            await trio.sleep_forever()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"authorization", f"Bearer {KEY}".encode()), (b"content-length", b"%d" % len(body))],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {},
        }
        started = trio.current_time()
        await site.app(scope, receive, send)  # type: ignore[arg-type]
        assert site.world.reserved() == 0
        assert trio.current_time() == started
        assert (await site.world.settled()).status == 499


async def test_one_s_own_machines_without_one_is_409(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        site.keys.special["own"] = Identity(account_id="nobody", key_id="k", self_route_only=True)
        site.keys.without_machine.add("nobody")
        status, _, body = await site.ask("POST", PATH, body={"model": MODEL, "messages": MESSAGES}, key="own")
        assert (status, error_of(body)["code"]) == (409, "no_linked_machine")
