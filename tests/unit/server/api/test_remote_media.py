"""Remote images in a request: refused or fetched at the right moment, paid for, and inlined."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from protocol.api.errors import ApiError
from protocol.messages.from_provider import ModelEntry
from server.api.call import Call, CallHeaders
from server.api.chat import chat_endpoint
from server.relay.funds import FreeOfCharge
from tests.unit.server.api.site import KEY, Site, error_of, open_site
from tests.unit.server.media.web import PUBLIC, Web, ok, png
from tests.unit.server.registry.fleet import heartbeat, register_message, trusted, wire_slot
from tests.unit.server.relay.relay_world import MODEL, FakeChannel, saying

PATH = "/v1/chat/completions"
URL = "http://good.test/x.png"


class Purse(FreeOfCharge):
    """Remembers what was reserved, in order; `limit` is the most that it reserves for."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.limit = 10**9

    async def admit(self, job: Any) -> None:
        self._note("admit", job.prompt_bound)

    async def grow(self, job: Any) -> None:
        self._note("grow", job.prompt_bound)

    def _note(self, what: str, tokens: int) -> None:
        self.log.append((what, tokens))
        if tokens > self.limit:
            raise ApiError(402, "insufficient_funds", "Too little money.", code="insufficient_quota")


@asynccontextmanager
async def open_media_site() -> AsyncIterator[tuple[Site, Web, Purse]]:
    async with trio.open_nursery() as nursery:
        web, purse = Web(nursery), Purse()
        web.sites[PUBLIC, "/x.png"] = ok(png(size=3000))
        async with open_site(limits={"funds": purse}, services={"media": web.fetcher()}, max_body_bytes=20_000) as site:
            channel = FakeChannel("p", site.world.nursery, saying("a cat"))
            site.world.channels["p"] = channel
            now = trio.current_time()
            site.world.registry.register(
                session_id="p",
                message=register_message(ModelEntry(id=MODEL, is_vision=True)),
                channel=channel,
                stable_id="p",
                account_id="owner",
                trust=trusted(now),
                now=now,
            )
            slot = wire_slot(max_concurrency=4, active_token_budget_max=1_000_000)
            site.world.registry.heartbeat("p", heartbeat(slot), now)
            yield site, web, purse
        nursery.cancel_scope.cancel()


def showing(*urls: str) -> dict[str, Any]:
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls]
    return {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, *parts]}]}


async def test_an_image_is_fetched_once_paid_for_and_inlined(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, web, purse):
        web.pause = 2
        status, headers, body = await site.ask("POST", PATH, body=showing(URL, URL))
        assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "a cat")
        text, *images = site.world.channels["p"].seen[0].body["messages"][0]["content"]
        assert text == {"type": "text", "text": "what?"}
        for image in images:
            assert image["image_url"]["url"].startswith("data:image/png;base64,iVBORw0KGgo")
            assert image["image_url"]["detail"] == "low"
        assert len(web.asked) == 1
        (first, before), (second, after) = purse.log
        assert (first, second) == ("admit", "grow")
        assert before < 1000 < 8000 < after
        timing = json.loads(headers["x-timing"])
        assert timing["media_fetch_us"] == 2_000_000
        assert timing["total_us"] == sum(value for name, value in timing.items() if name != "total_us")


async def test_an_answer_without_media_says_nothing_of_it(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, _web, purse):
        _, headers, _ = await site.ask("POST", PATH, body=showing())
        assert "media_fetch_us" not in json.loads(headers["x-timing"])
        assert [what for what, _ in purse.log] == ["admit"]


async def test_money_comes_before_the_fetch_and_must_suffice_behind_it(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, web, purse):
        purse.limit = 10
        assert (await site.ask("POST", PATH, body=showing(URL)))[0] == 402
        assert web.dialled == []
        purse.limit = 3000
        assert (await site.ask("POST", PATH, body=showing(URL)))[0] == 402
        assert len(web.dialled) == 1
        assert site.world.channels["p"].seen == []


async def test_a_failed_fetch_is_told_and_reserves_nothing(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, _web, _purse):
        for url, code in (("http://127.0.0.1/", "media_blocked"), ("http://good.test/404", "media_fetch_failed")):
            status, _, body = await site.ask("POST", PATH, body=showing(URL, url))
            assert (status, error_of(body)["code"]) == ({"media_blocked": 403}.get(code, 502), code)
        assert site.world.reserved() == 0
        assert site.world.channels["p"].seen == []


async def test_a_body_that_grows_over_the_cap_is_413(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, web, _purse):
        web.sites[PUBLIC, "/x.png"] = ok(png(size=18_000))
        status, _, body = await site.ask("POST", PATH, body=showing(URL))
        assert (status, error_of(body)["code"]) == (413, "payload_too_large")


async def test_a_client_that_leaves_ends_the_fetch(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, web, _purse):
        web.pause = 10
        with trio.move_on_after(1):
            await site.ask("POST", PATH, body=showing(URL))
        await trio.sleep(0.1)
        assert (await site.world.settled()).status == 499
        assert site.world.reserved() == 0


async def test_nothing_is_fetched_without_a_fetcher(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, _, body = await site.ask("POST", PATH, body=showing(URL))
        assert (status, error_of(body)["code"]) == (400, "remote_media_disabled")


async def test_nothing_is_fetched_for_a_sealed_request(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, web, _purse):
        headers = CallHeaders([(b"authorization", f"Bearer {KEY}".encode())])

        async def read() -> bytes:
            await trio.lowlevel.checkpoint()
            return json.dumps(showing(URL)).encode()

        with pytest.raises(ApiError) as caught:
            await chat_endpoint(site.services)(Call(headers, b"", read, sealed=True))
        assert (caught.value.status, caught.value.code) == (400, "remote_media_disabled")
        assert web.dialled == []


async def test_other_dialects_take_bytes_alone(autojump_clock: MockClock) -> None:
    async with open_media_site() as (site, web, _purse):
        image = {"type": "input_image", "image_url": URL}
        body: Any = {"model": MODEL, "input": [{"role": "user", "content": [image]}]}
        status, _, found = await site.ask("POST", "/v1/responses", body=body)
        assert (status, error_of(found)["code"]) == (400, "remote_media_disabled")
        block = {"type": "image", "source": {"type": "url", "url": URL}}
        body = {"model": MODEL, "messages": [{"role": "user", "content": [block]}]}
        status, _, found = await site.ask("POST", "/v1/messages", body=body)
        assert status == 400
        assert web.dialled == []
