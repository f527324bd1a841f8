"""What a caller hears of each way in which a request can fail at the providers, in every dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.unit.server.api.site import Site, open_site
from tests.unit.server.relay.relay_world import MODEL, Served, delta, failing, saying

OPENAI = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
MESSAGES = "/v1/messages"
BODY = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "my secret"}],
    "prompt": "my secret",
    "input": "my secret",
}


@dataclass(frozen=True)
class Row:
    """A provider's error, and the answer: status, type, code, whether a retry is advised and after how long."""

    name: str
    error: dict[str, Any]
    status: int
    kind: str
    code: str
    waits: bool = False
    should_retry: str | None = None
    tried: int = 1
    also: dict[str, Any] = field(default_factory=dict)


ROWS = [
    Row("invalid", {"failure_code": "invalid_request"}, 400, "invalid_request_error", "invalid_request_error"),
    Row("bad media", {"failure_code": "invalid_media"}, 400, "invalid_request_error", "invalid_request_error"),
    Row("large media", {"failure_code": "media_too_large"}, 413, "invalid_request_error", "invalid_request_error"),
    Row("odd media", {"failure_code": "unsupported_media"}, 415, "invalid_request_error", "invalid_request_error"),
    Row(
        "template",
        {"failure_code": "template_render", "error_reason": "jinja_template"},
        422,
        "invalid_request_error",
        "model_capability",
        should_retry="false",
    ),
    Row(
        "disobedient",
        {"failure_code": "generation_failure", "error_reason": "tool_noncompliance"},
        422,
        "invalid_request_error",
        "model_capability",
        should_retry="false",
        tried=2,
    ),
    Row(
        "too long",
        {"failure_code": "capacity", "error_reason": "request_exceeds_context"},
        429,
        "rate_limit_exceeded",
        "rate_limit_exceeded",
        waits=True,
        should_retry="false",
    ),
    Row(
        "full",
        {"failure_code": "capacity", "error_reason": "queue_full"},
        429,
        "rate_limit_exceeded",
        "rate_limit_exceeded",
        waits=True,
        tried=2,
    ),
    Row(
        "draining",
        {"failure_code": "capacity", "error_reason": "draining"},
        429,
        "rate_limit_exceeded",
        "rate_limit_exceeded",
        waits=True,
        tried=2,
    ),
    Row("not loaded", {"failure_code": "model_unavailable"}, 503, "provider_error", "provider_error", True, None, 2),
    Row("broken", {"status_code": 500}, 502, "provider_error", "provider_error", tried=2),
    Row("unknown code", {"failure_code": "banana"}, 502, "provider_error", "provider_error", tried=2),
    Row("unsealable", {"failure_code": "encryption_failure"}, 502, "provider_error", "provider_error", tried=2),
    Row(
        "typed timeout",
        {"terminal_cause": "safety_deadline", "status_code": 500},
        504,
        "provider_error",
        "provider_error",
        tried=2,
    ),
]  # fmt: skip
ANTHROPIC = {
    400: "invalid_request_error", 413: "request_too_large", 415: "invalid_request_error", 422: "invalid_request_error",
    429: "rate_limit_error", 502: "api_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


async def ask(site: Site, path: str, **members: Any) -> tuple[int, dict[str, str], bytes]:
    names = {"/v1/completions": "prompt", "/v1/responses": "input"}
    body = {"model": MODEL, names.get(path, "messages"): BODY[names.get(path, "messages")]} | members
    return await site.ask("POST", path, body=body)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_failures_before_content(row: Row, stream: bool, autojump_clock: MockClock) -> None:
    for path in (OPENAI[0],) if stream else (*OPENAI, MESSAGES):
        async with open_site() as site:
            for name in ("p", "q"):
                site.world.provider(name, failing(**row.error, error="my secret"))
            status, headers, body = await ask(site, path, stream=stream)
            assert status == row.status
            assert headers["content-type"] == "application/json"
            found = json.loads(body)
            error = found["error"]
            assert error["code"] == row.code
            assert error["type"] == (ANTHROPIC[status] if path == MESSAGES else row.kind)
            assert ("request_id" in found) == (path == MESSAGES)
            assert b"secret" not in body
            assert headers.get("x-should-retry") == row.should_retry
            assert ("retry-after" in headers) == row.waits
            if row.waits:
                assert 2 <= int(headers["retry-after"]) <= 60
            assert sum(len(channel.seen) for channel in site.world.channels.values()) == row.tried
            assert site.world.reserved() == 0
            assert (await site.world.settled()).usage is None


async def breaks(served: Served) -> None:
    """Two words, then a failure."""
    for word in ("one ", "two"):
        served.say(delta(word))
        await trio.sleep(0.01)
    served.error(status_code=500, error="my secret")


@pytest.mark.parametrize("path", [*OPENAI, MESSAGES])
async def test_a_failure_behind_content_is_one_event_of_the_dialect(path: str, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", breaks)
        site.world.provider("q", saying("never heard"))
        status, _, body = await ask(site, path, stream=True)
        assert status == 200
        text = body.decode()
        assert "never heard" not in text
        assert "secret" not in text
        assert text.index("one ") < text.index("two") < text.index("provider_error")
        assert "[DONE]" not in text
        assert "message_stop" not in text
        assert "response.completed" not in text
        mark = {MESSAGES: "event: error\n", "/v1/responses": "event: error\n"}.get(path, 'data: {"error"')
        assert text.count(mark) == 1
        assert text.endswith("\n\n")
        assert len(site.world.channels["q"].seen) == 0


@pytest.mark.parametrize("path", [*OPENAI, MESSAGES])
async def test_a_fault_of_ours_behind_the_head_is_one_event_of_the_dialect(
    path: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError("my secret")

    async with open_site() as site:
        site.world.provider("p", saying("one", pause=1))
        monkeypatch.setattr("server.relay.outlet.Outlet._run", crash)
        status, _, body = await ask(site, path, stream=True)
        assert status == 200
        assert b"secret" not in body
        text = body.decode()
        if path == MESSAGES:
            assert text.startswith("event: error\ndata: ")
            assert '"api_error"' in text
        elif path == "/v1/responses":
            kinds = [line.removeprefix("event: ") for line in text.split("\n") if line.startswith("event: ")]
            assert kinds[-2:] == ["error", "response.failed"]
        else:
            assert json.loads(text.removeprefix("data: "))["error"]["code"] == "internal_error"


@pytest.mark.parametrize("path", [*OPENAI, MESSAGES])
async def test_a_silent_provider_is_429_in_time(path: str, autojump_clock: MockClock) -> None:
    async def silent(served: Served) -> None:
        await served.cancelled.wait()

    async with open_site() as site:
        site.world.provider("p", silent)
        started = trio.current_time()
        status, headers, _ = await ask(site, path)
        assert (status, "retry-after" in headers) == (429, True)
        assert trio.current_time() - started < 6


async def test_an_answer_in_one_piece_that_stalls_is_504(autojump_clock: MockClock) -> None:
    async def stalls(served: Served) -> None:
        served.say(delta("one"))
        await served.cancelled.wait()

    async with open_site() as site:
        site.world.provider("p", stalls)
        status, _, body = await ask(site, OPENAI[0])
        assert (status, json.loads(body)["error"]["type"]) == (504, "timeout")
