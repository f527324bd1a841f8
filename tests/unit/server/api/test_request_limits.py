"""Rate limits of inference: what the answers show, what a refusal says, and what comes back after the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from server.accounts import Identity
from server.store import StoreUnavailable
from tests.unit.server.api.site import MESSAGES, Site, error_of, open_site
from tests.unit.server.relay.relay_world import MODEL, failing, saying, silent

PATH = "/v1/chat/completions"
TRIPLES = {
    f"x-ratelimit-{part}-{which}"
    for part in ("limit", "remaining", "reset")
    for which in ("requests", "input-tokens", "output-tokens")
}
REQUEST_TRIPLE = {name for name in TRIPLES if name.endswith("requests")}


def person(site: Site, **limits: Any) -> None:
    """Let the key `mine` have limits."""
    site.keys.special["mine"] = Identity(account_id="acct-1", key_id="key-1", **limits)


async def ask(site: Site, **members: Any) -> tuple[int, dict[str, str], bytes]:
    body = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100} | members
    return await site.ask("POST", PATH, body=body, key="mine")


def shown(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("x-ratelimit-")}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_shows_every_limit_that_let_it_in(stream: bool, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site, rpm_limit=50, itpm_limit=10_000, otpm_limit=1000)
        site.world.provider("p", saying("x"))
        status, headers, _ = await ask(site, stream=stream)
        assert status == 200
        assert shown(headers) == TRIPLES
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("50", "49")
        limits = (headers["x-ratelimit-limit-output-tokens"], headers["x-ratelimit-remaining-output-tokens"])
        assert limits == ("1000", "900")


async def test_an_unlimited_caller_is_shown_none(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        site.world.provider("p", saying("x"))
        status, headers, _ = await site.chat()
        assert (status, shown(headers)) == (200, set())


async def test_an_error_before_the_tokens_are_counted_shows_the_request_limit(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site)
        site.world.provider("p", saying("x"))
        status, headers, _ = await ask(site, messages=[])
        assert (status, shown(headers)) == (400, REQUEST_TRIPLE)


async def test_an_error_of_the_relay_shows_all_limits(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site)
        site.world.provider("p", failing(status_code=500, failure_code="generation_failure", error="x"))
        status, headers, _ = await ask(site)
        assert (status, shown(headers)) == (502, TRIPLES)


async def test_no_limits_are_shown_to_strangers(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        status, headers, _ = await site.ask("POST", PATH, body={}, key="unknown")
        assert (status, shown(headers)) == (401, set())


async def test_one_request_too_many_is_429_and_reaches_nobody(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site, rpm_limit=2)
        channel = site.world.provider("p", saying("x"))
        assert [(await ask(site))[0] for _ in range(2)] == [200, 200]
        status, headers, body = await ask(site)
        assert (status, error_of(body)["type"], error_of(body)["code"]) == (429, *["rate_limit_exceeded"] * 2)
        assert 1 <= int(headers["retry-after"]) <= 60
        assert headers["x-ratelimit-remaining-requests"] == "0"
        assert int(headers["x-ratelimit-reset"]) >= 1_780_000_000
        assert len(channel.seen) == 2
        assert len(site.world.ledger.records) == 2
        await trio.sleep(int(headers["retry-after"]))
        assert (await ask(site))[0] == 200


async def test_too_much_output_at_once_is_429_and_names_it(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site, otpm_limit=150)
        site.world.provider("p", silent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: ask(site))
            await wait_all_tasks_blocked()
            status, headers, body = await ask(site)
            assert (status, error_of(body)["type"]) == (429, "rate_limit_exceeded")
            assert "output tokens" in error_of(body)["message"]
            assert int(headers["retry-after"]) >= 1
            assert "x-ratelimit-limit-requests" in headers
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("stream", [True, False])
async def test_output_that_was_not_produced_comes_back_after_the_end(stream: bool, autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site, otpm_limit=100)
        site.world.provider("p", saying("x", completion=2))
        assert (await ask(site, stream=stream))[0] == 200
        status, headers, _ = await ask(site, max_tokens=98)
        assert (status, headers["x-ratelimit-remaining-output-tokens"]) == (200, "0")


async def test_a_request_that_failed_gives_all_of_its_output_back(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site, otpm_limit=100)
        site.world.provider("p", failing(status_code=500, failure_code="generation_failure", error="x"))
        assert (await ask(site))[0] == 502
        site.world.provider("q", saying("x"))
        assert (await ask(site))[0] == 200


async def test_a_consumer_who_left_before_content_gets_all_of_its_output_back(autojump_clock: MockClock) -> None:
    async with open_site() as site:
        person(site, otpm_limit=100)
        site.world.provider("p", silent)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: ask(site))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await site.world.settled()
        site.world.provider("q", saying("x"))
        site.world.registry.disconnect("p", trio.current_time(), graceful=True)
        assert (await ask(site))[0] == 200


async def test_without_the_database_nobody_is_let_in_and_told_when_to_come_back(autojump_clock: MockClock) -> None:
    async with open_site() as site:

        async def away(*_: object, **__: object) -> Identity:
            raise StoreUnavailable("The database does not answer.")

        site.keys.identify_call = away  # type: ignore[method-assign]
        channel = site.world.provider("p", saying("x"))
        status, headers, body = await ask(site)
        assert (status, error_of(body)["type"]) == (503, "service_unavailable")
        assert int(headers["retry-after"]) >= 1
        assert b"database does not answer" not in body.lower()
        assert json.loads(body)["error"]["message"].startswith("Accounts cannot be checked")
        assert channel.seen == []
        assert site.world.ledger.records == []
