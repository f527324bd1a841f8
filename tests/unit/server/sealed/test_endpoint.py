"""Sealed requests through the whole application: every dialect, whole and streamed, errors, limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from protocol.settings import Secret
from server.accounts import Identity
from tests.testbed.sealed_client import KID, MNEMONIC, SEALED_TYPE, SealedAsker
from tests.unit.server.api.site import MESSAGES, Site, open_site
from tests.unit.server.relay.relay_world import MODEL, Served, delta, saying

if TYPE_CHECKING:
    from trio.testing import MockClock

MNEMONICS: dict[str, Any] = {"coordinator_mnemonic": Secret(MNEMONIC)}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 20},
}
PATHS = list(BODIES)


async def post(
    site: Site, asker: SealedAsker, body: object, path: str = PATHS[0], **more: Any
) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": SEALED_TYPE} | more.pop("headers", {})
    return await site.ask("POST", path, body=asker.sealed(body), **headers, **more)


@pytest.mark.parametrize("path", PATHS)
async def test_answer_in_one_piece(autojump_clock: MockClock, path: str) -> None:
    async with open_site(**MNEMONICS) as site:
        channel = site.world.provider("p", saying("Hello"))
        asker = SealedAsker()
        status, headers, body = await post(site, asker, {"model": MODEL, **BODIES[path]}, path)
        assert (status, headers["content-type"]) == (200, SEALED_TYPE)
        assert (headers["x-eigen-sealed"], headers["x-eigen-sealed-kid"]) == ("true", KID)
        assert "x-timing" in headers
        assert "x-inference-job-id" in headers
        answer = asker.open_whole(body)
        assert "Hello" in json.dumps(answer)
        assert b"Hello" not in body
        assert len(channel.seen) == 1
        await wait_all_tasks_blocked()


@pytest.mark.parametrize("path", PATHS)
async def test_stream(autojump_clock: MockClock, path: str) -> None:
    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", saying("Well met", " again", "!", "?"))
        asker = SealedAsker()
        sealed = {"model": MODEL, "stream": True, **BODIES[path]}
        status, headers, body = await post(site, asker, sealed, path)
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert headers["x-eigen-sealed-kid"] == KID
        opened = asker.open_stream(body)
        plain = (await site.ask("POST", path, body=sealed))[2]
        assert _shape(opened) == _shape(plain)
        for word in (b"Well met", b"[DONE]", b"choices", b"event:"):  # long, or with what base64 never has
            assert word not in body
        await wait_all_tasks_blocked()


def _shape(stream: bytes) -> list[str]:
    """The events' kinds in order, without ids and times."""
    return [event.partition(b"\n")[0][:9].decode() for event in stream.split(b"\n\n")]


async def test_media_type_has_any_case_and_parameters(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", saying("Hello"))
        for written in (
            "Application/EigenInference-Sealed+JSON; charset=utf-8",
            f"{SEALED_TYPE};=;",
            f" {SEALED_TYPE} ",
        ):
            asker = SealedAsker()
            found = await post(site, asker, {"model": MODEL, "messages": MESSAGES}, headers={"Content_Type": written})
            assert found[0] == 200, written
            assert asker.open_whole(found[2])["choices"]
            await wait_all_tasks_blocked()


async def test_nothing_is_guessed(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        sealed = SealedAsker().sealed({"model": MODEL, "messages": MESSAGES})
        status, headers, body = await site.ask("POST", PATHS[0], body=sealed, Content_Type="application/json")
        assert (status, json.loads(body)["error"]["param"]) == (400, "model")
        assert "x-eigen-sealed" not in headers
        plain = {"model": MODEL, "messages": MESSAGES}
        status, _, body = await site.ask("POST", PATHS[0], body=plain, Content_Type=SEALED_TYPE)
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_sealed_envelope")


@pytest.mark.parametrize("path", PATHS)
async def test_errors_after_unsealing_are_sealed(autojump_clock: MockClock, path: str) -> None:
    async with open_site(**MNEMONICS) as site:
        asker = SealedAsker()
        status, headers, body = await post(site, asker, {}, path)
        assert (status, headers["content-type"]) == (400, SEALED_TYPE)
        error = asker.open_whole(body)["error"]
        assert error["param"] == "model"
        status, _, body = await post(site, asker, {"model": "nobody-has-it", **BODIES[path]}, path)
        assert status == 404
        opened = asker.open_whole(body)
        assert opened["error"]["code"] == "model_not_found"
        assert (opened.get("type") == "error") == (path == "/v1/messages")


async def test_retry_after_stays_readable(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS, queue_before_shed=False) as site:
        site.world.registry.catalog.note_advertised("gone")
        asker = SealedAsker()
        status, headers, body = await post(site, asker, {"model": "gone", "messages": MESSAGES})
        assert status == 429
        assert int(headers["retry-after"]) >= 2
        assert asker.open_whole(body)["error"]["type"] == "rate_limit_exceeded"


async def test_who_and_how_often_come_first_and_plain(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        site.keys.special["slow"] = Identity(account_id="slow", key_id="k", rpm_limit=1)
        asker = SealedAsker()
        status, headers, body = await post(site, asker, {}, key="wrong")
        assert (status, headers["content-type"]) == (401, "application/json")
        assert (await post(site, asker, {}, key="slow"))[0] == 400
        status, headers, body = await post(site, asker, {}, key="slow")
        assert (status, headers["content-type"]) == (429, "application/json")
        assert json.loads(body)["error"]["type"] == "rate_limit_exceeded"
        assert "x-eigen-sealed" not in headers


async def test_a_sealed_answer_shows_the_rate_limits(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        site.keys.special["slow"] = Identity(account_id="slow", key_id="k", rpm_limit=7)
        status, headers, _ = await post(site, SealedAsker(), {}, key="slow")
        assert status == 400
        assert headers["x-ratelimit-limit-requests"] == "7"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kid": "0" * 16}, "kid_mismatch"),
        ({"ciphertext": "AAAA"}, "invalid_sealed_envelope"),
        ({"model": MODEL}, "invalid_sealed_envelope"),
    ],
)
async def test_envelope_errors_are_plain(autojump_clock: MockClock, change: dict[str, str], code: str) -> None:
    async with open_site(**MNEMONICS) as site:
        channel = site.world.provider("p", saying("Hello"))
        envelope = SealedAsker().envelope({"model": MODEL, "messages": MESSAGES}) | change
        for path in PATHS:
            status, headers, body = await site.ask("POST", path, body=envelope, Content_Type=SEALED_TYPE)
            assert (status, headers["content-type"]) == (400, "application/json")
            assert json.loads(body)["error"]["code"] == code
            assert "x-eigen-sealed" not in headers
        assert channel.seen == []


async def test_without_a_key_the_client_is_told_to_go_plain(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, headers, body = await post(site, SealedAsker(), {"model": MODEL, "messages": MESSAGES})
        assert (status, json.loads(body)["error"]["code"]) == (503, "encryption_unavailable")
        assert headers["x-should-retry"] == "false"


async def test_the_same_body_twice_is_a_replay_where_that_is_checked(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS, sealed_replay_window=60.0) as site:
        site.world.provider("p", saying("Hello"))
        asker = SealedAsker()
        sealed = asker.sealed({"model": MODEL, "messages": MESSAGES})
        assert (await site.ask("POST", PATHS[0], body=sealed, Content_Type=SEALED_TYPE))[0] == 200
        await wait_all_tasks_blocked()
        status, _, body = await site.ask("POST", PATHS[0], body=sealed, Content_Type=SEALED_TYPE)
        assert (status, json.loads(body)["error"]["code"]) == (400, "replayed_request")
        again = asker.sealed({"model": MODEL, "messages": MESSAGES})  # the same key pair, a fresh nonce
        assert (await site.ask("POST", PATHS[0], body=again, Content_Type=SEALED_TYPE))[0] == 200
        await wait_all_tasks_blocked()
        await trio.sleep(60)
        assert (await site.ask("POST", PATHS[0], body=sealed, Content_Type=SEALED_TYPE))[0] == 200
        await wait_all_tasks_blocked()


async def test_by_default_a_repetition_is_served(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", saying("Hello"))
        sealed = SealedAsker().sealed({"model": MODEL, "messages": MESSAGES})
        for _ in range(2):
            assert (await site.ask("POST", PATHS[0], body=sealed, Content_Type=SEALED_TYPE))[0] == 200
            await wait_all_tasks_blocked()


async def test_caps_of_the_sealed_and_of_the_opened_body(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS, max_body_bytes=2048, max_sealed_bytes=8192) as site:
        asker = SealedAsker()
        padding = "x" * 2048
        status, headers, body = await post(site, asker, {"model": MODEL, "messages": MESSAGES, "user": padding})
        assert (status, headers["content-type"]) == (413, SEALED_TYPE)
        assert asker.open_whole(body)["error"]["code"] == "payload_too_large"
        status, headers, body = await post(site, asker, {"user": "x" * 8192})
        assert (status, headers["content-type"]) == (413, "application/json")
        assert json.loads(body)["error"]["code"] == "payload_too_large"


async def test_a_large_body_is_opened_in_a_thread() -> None:
    # Without the fast clock, which does not see that a thread is at work.
    async with open_site(**MNEMONICS, max_body_bytes=2_000_000, max_sealed_bytes=4_000_000) as site:
        channel = site.world.provider("p", saying("Hello"))
        messages = [{"role": "user", "content": "word " * 100_000}]
        asker = SealedAsker()
        status, _, body = await post(site, asker, {"model": MODEL, "messages": messages})
        assert (status, len(asker.open_whole(body)["choices"])) == (200, 1)
        assert channel.seen[0].body["messages"] == messages


async def test_a_sealed_request_opens_no_connection_for_media(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", saying("Hello"))
        asker = SealedAsker()
        parts = [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
        body = {"model": MODEL, "messages": [{"role": "user", "content": parts}]}
        status, headers, answer = await post(site, asker, body)
        assert (status, headers["content-type"]) == (400, SEALED_TYPE)
        assert asker.open_whole(answer)["error"]["param"] == "messages"


async def test_padded_and_numbered_streams(autojump_clock: MockClock) -> None:
    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", saying("a", "bcdefgh", "i" * 50))
        asker = SealedAsker()
        found = await post(
            site,
            asker,
            {"model": MODEL, "messages": MESSAGES, "stream": True},
            headers={"X-Darkbloom-Pad": "1", "X-Darkbloom-Count": "1"},
        )
        events = asker.open_events(found[2])
        assert {len(event) % 32 for event in events} == {0}
        assert [int(event.split(b"\n")[0][2:]) for event in events] == list(range(len(events)))
        await wait_all_tasks_blocked()


async def test_a_stream_that_breaks_ends_with_a_sealed_error(autojump_clock: MockClock) -> None:
    async def breaks(served: Served) -> None:
        served.say(delta("Hel"))
        await trio.sleep(1)
        served.error(error="x", status_code=500, failure_code="internal_failure")

    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", breaks)
        asker = SealedAsker()
        status, _, body = await post(site, asker, {"model": MODEL, "messages": MESSAGES, "stream": True})
        assert status == 200
        events = asker.open_events(body)
        assert b"error" in events[-1]
        assert b"[DONE]" not in b"".join(events)
        await wait_all_tasks_blocked()


async def test_a_crash_of_the_stream_ends_sealed(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.relay.outlet import Outlet

    async def crash(self: Outlet, writer: Any) -> None:
        await writer.write(b"data: {}\n\n")
        raise RuntimeError("boom hello")

    monkeypatch.setattr(Outlet, "_run", crash)
    async with open_site(**MNEMONICS) as site:
        site.world.provider("p", saying("Hello"))
        asker = SealedAsker()
        status, _, body = await post(site, asker, {"model": MODEL, "messages": MESSAGES, "stream": True})
        assert status == 200
        events = asker.open_events(body)
        assert events[0] == b"data: {}"
        assert b"internal_error" in events[-1]
