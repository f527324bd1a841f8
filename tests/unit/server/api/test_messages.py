"""`POST /v1/messages` and its token count through the whole application."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from server.accounts import AuthRefusal, Identity
from server.api.anthropic_limits import anthropic_limit_headers
from server.registry import CatalogEntry
from tests.unit.protocol.api.anthropic.sdk_reader import read_stream, shown
from tests.unit.server.api.site import MESSAGES, Site, open_site
from tests.unit.server.relay.relay_world import MODEL, STOP, Served, delta, failing, saying

if TYPE_CHECKING:
    from trio.testing import MockClock

PATH = "/v1/messages"


async def ask(site: Site, path: str = PATH, **members: Any) -> tuple[int, dict[str, str], bytes]:
    body = {"model": MODEL, "max_tokens": 20, "messages": MESSAGES} | members
    return await site.ask("POST", path, body=body)


def error_of(body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """The inside of Anthropic's envelope."""
    envelope = json.loads(body)
    assert envelope["type"] == "error"
    assert envelope["request_id"] == headers["request-id"]
    error: dict[str, Any] = envelope["error"]
    assert isinstance(error["message"], str)
    return error


async def test_stream(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        channel = site.world.provider("p", saying("Hel", "lo", "!"))
        status, headers, body = await ask(site, stream=True, system="Be kind.")
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert b"[DONE]" not in body
        message = read_stream(body)
        assert shown(message) == [("text", "Hello!")]
        assert message.id == f"msg_{headers['x-inference-job-id'].replace('-', '')}"
        assert (message.model, message.stop_reason) == (MODEL, "end_turn")
        assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 2)
        assert channel.seen[0].spliced == 2
        assert channel.seen[0].body["messages"] == [{"role": "system", "content": "Be kind."}, *MESSAGES]
        assert channel.seen[0].body["max_tokens"] == 20
        record = await site.world.settled()
        assert (record.stream, record.delivered_deltas, record.delivered_text_bytes) == (True, 3, 6)


async def test_answer_in_one_piece(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("Hello"))
        status, headers, body = await ask(site)
        assert status == 200
        message = json.loads(body)
        assert message["content"] == [{"type": "text", "text": "Hello"}]
        assert message["usage"] == {"input_tokens": 3, "output_tokens": 2}
        assert headers["x-provider-id"] == "p"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("matched", "reason"), [("END", "stop_sequence"), ("OTHER", "end_turn")])
async def test_stop_sequence_of_the_provider(
    streamed: bool, matched: str, reason: str, autojump_clock: MockClock
) -> None:
    async def script(served: Served) -> None:
        served.say(delta("x"))
        served.say(STOP)
        served.complete(stop_sequence=matched)

    async with open_site() as site:
        site.world.provider("p", script)
        _, _, body = await ask(site, stream=streamed, stop_sequences=["END"])
        ending = json.loads(body.split(b"\n\n")[-3].split(b"data: ")[1])["delta"] if streamed else json.loads(body)
        assert ending["stop_reason"] == reason
        assert ending["stop_sequence"] == (matched if reason == "stop_sequence" else None)


async def test_silent_stream_gets_pings(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("a", "b", pause=16))
        _, _, body = await ask(site, stream=True)
        assert b'event: ping\ndata: {"type":"ping"}\n\n' in body
        assert b": keep-alive" not in body
        assert shown(read_stream(body)) == [("text", "ab")]


async def test_failure_in_the_stream_is_one_error_event(autojump_clock: MockClock) -> None:
    async def script(served: Served) -> None:
        served.say(delta("x"))
        await trio.sleep(1)
        served.error(error="secret prose", status_code=500)

    async with open_site() as site:
        site.world.provider("p", script)
        _, headers, body = await ask(site, stream=True)
        assert b"secret" not in body
        last = body.decode().split("\n\n")[-2]
        assert last.startswith("event: error\ndata: ")
        error = json.loads(last.split("data: ")[1])
        assert (error["type"], error["error"]["type"]) == ("error", "api_error")
        assert error["request_id"] == headers["request-id"]


async def test_failure_before_content(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", failing(error="secret prose", status_code=500))
        status, headers, body = await ask(site)
        assert status == 502
        assert error_of(body, headers)["type"] == "api_error"
        assert b"secret" not in body


async def test_refusals_of_every_layer_are_in_the_envelope(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        site.keys.special["suspended"] = AuthRefusal("account_suspended")
        refused = [
            (await site.ask("POST", PATH, body={}, key="suspended"), 403, "permission_error"),
            (await site.ask("POST", PATH, body={}, key=None), 401, "authentication_error"),
            (await site.ask("POST", PATH, body={}, key="wrong"), 401, "authentication_error"),
            (await site.ask("POST", PATH, body=b"{bad"), 400, "invalid_request_error"),
            (await ask(site, model="nope"), 404, "not_found_error"),
            (await ask(site, tool_choice={"type": "tool"}), 400, "invalid_request_error"),
            (await site.ask("POST", PATH, body=b"x" * 5000), 413, "request_too_large"),
            (await site.ask("GET", PATH), 405, "invalid_request_error"),
            (await site.ask("POST", f"{PATH}/batches", body={}), 404, "not_found_error"),
            (await ask(site, f"{PATH}/count_tokens", model="nope"), 404, "not_found_error"),
        ]
        site.drain.set(draining=True)
        refused.append((await ask(site), 429, "rate_limit_error"))
        for (status, headers, body), expected, kind in refused:
            assert status == expected
            assert error_of(body, headers)["type"] == kind
        _, headers, _ = refused[-1][0]
        assert headers["retry-after"] == "3"
        status, headers, body = await site.ask("POST", "/v1/messagesx", body={})
        assert set(json.loads(body)) == {"error"}


async def test_crash_is_in_the_envelope(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_site() as site:

        async def crash(_job: object) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(site.world.relay, "run", crash)
        site.world.provider("p", saying("x"))
        status, headers, body = await ask(site)
        assert (status, error_of(body, headers)["type"]) == (500, "api_error")
        assert b"secret" not in body


async def test_token_count(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.registry.set_catalog([CatalogEntry(id=MODEL)], trio.current_time())
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hello world"}]}
        status, _, answer = await site.ask("POST", f"{PATH}/count_tokens", body=body)
        assert (status, json.loads(answer)) == (200, {"input_tokens": 6})
        tools = [{"name": "f", "input_schema": {"type": "object"}}]
        _, _, more = await site.ask("POST", f"{PATH}/count_tokens", body=body | {"tools": tools})
        assert json.loads(more)["input_tokens"] > 6
        site.drain.set(draining=True)
        assert (await site.ask("POST", f"{PATH}/count_tokens", body=body))[0] == 200


async def test_tokens_are_counted_for_models_of_one_s_own_machines_too(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.registry.set_catalog([CatalogEntry(id="other")], trio.current_time())
        site.keys.special["own"] = Identity(account_id="a", key_id="k", self_route_only=True)
        body = {"model": "mine/only", "messages": MESSAGES}
        assert (await site.ask("POST", f"{PATH}/count_tokens", body=body))[0] == 404
        assert (await site.ask("POST", f"{PATH}/count_tokens", body=body, key="own"))[0] == 200


def test_limit_headers_are_translated() -> None:
    ours = [
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-input-tokens", "5"),
        ("x-ratelimit-reset-output-tokens", "12s"),
        ("x-ratelimit-reset-requests", "soon"),
        ("Retry-After", "3"),
    ]
    assert anthropic_limit_headers(ours, 1_780_000_000.9) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-input-tokens-remaining": "5",
        "anthropic-ratelimit-output-tokens-reset": "2026-05-28T20:26:52Z",
    }


async def test_limits_are_shown_on_answers_streams_and_refusals(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        site.keys.special["mine"] = Identity(account_id="a", key_id="k", rpm_limit=3)
        body = {"model": MODEL, "max_tokens": 5, "messages": MESSAGES}
        bodies = (body, body | {"stream": True}, body | {"max_tokens": -1}, body)
        for sent, remaining, expected in zip(bodies, "2100", (200, 200, 400, 429), strict=True):
            status, headers, _ = await site.ask("POST", PATH, body=sent, key="mine")
            assert status == expected
            assert headers["anthropic-ratelimit-requests-limit"] == "3"
            assert headers["anthropic-ratelimit-requests-remaining"] == remaining
            assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
