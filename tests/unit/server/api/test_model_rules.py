"""What the catalogue says of a model, in the requests that name it: aliases, bounds, defaults, abilities, thinking."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from protocol.messages.from_provider import ModelEntry
from server.accounts import Identity
from server.catalog import AliasTarget
from server.registry import CatalogEntry
from tests.unit.server.api.site import Site, error_of, open_site
from tests.unit.server.registry.fleet import heartbeat, register_message, trusted, wire_slot
from tests.unit.server.relay.relay_world import FakeChannel, saying, silent

PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {}}}
TOOL = {"type": "function", "function": {"name": "f"}}


class Names:
    """The alias `a` stands for `new`, then `old`."""

    def resolve(self, name: str) -> AliasTarget | None:
        return AliasTarget("a", "new", "old") if name == "a" else None


@asynccontextmanager
async def models(*entries: CatalogEntry, offered: tuple[str, ...] = (), **more: Any) -> AsyncIterator[Site]:
    """A site with these builds in its catalogue, and a machine for each one that is offered."""
    async with open_site(services={"aliases": Names()}, limits=more) as site:
        now = trio.current_time()
        site.world.registry.set_catalog(entries, now)
        for build in offered or tuple(entry.id for entry in entries):
            channel = FakeChannel(build, site.world.nursery, saying("fine"))
            site.world.channels[build] = channel
            site.world.registry.register(
                session_id=build,
                message=register_message(ModelEntry(id=build)),
                channel=channel,
                stable_id=build,
                account_id="owner",
                trust=trusted(now),
                now=now,
            )
            slot = wire_slot(model=build, max_concurrency=4, active_token_budget_max=1_000_000)
            site.world.registry.heartbeat(build, heartbeat(slot), now)
        yield site


async def ask(site: Site, model: str, *, key: str | None = None, **members: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": model, "messages": MESSAGES} | members
    status, _, found = await site.ask("POST", PATH, body=body, **({"key": key} if key else {}))
    return status, json.loads(found)


def sent(site: Site, build: str) -> dict[str, Any]:
    """The last body that the machine of a build got."""
    found: dict[str, Any] = site.world.channels[build].seen[-1].body
    return found


# --- aliases --------------------------------------------------------------------------------------------------------


async def test_an_alias_is_served_by_its_build_under_its_own_name(autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="new"), CatalogEntry(id="old")) as site:
        status, body = await ask(site, "a")
        assert (status, body["model"]) == (200, "a")
        assert sent(site, "new")["model"] == "new"
        record = await site.world.settled()
        assert (record.public_model, record.build) == ("a", "new")


async def test_a_build_without_a_machine_falls_back_to_the_one_before(autojump_clock: MockClock) -> None:
    async with models(
        CatalogEntry(id="new", defaults={"temperature": 0.1}),
        CatalogEntry(id="old", defaults={"temperature": 0.9}, max_output=20),
        offered=("old",),
    ) as site:
        status, body = await ask(site, "a", max_tokens=100)
        assert (status, body["model"]) == (200, "a")
        given = sent(site, "old")
        assert (given["model"], given["temperature"], given["max_tokens"]) == ("old", 0.9, 20)


async def test_a_full_build_gives_way_to_the_one_before(autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="new"), CatalogEntry(id="old")) as site:
        site.world.channels["new"].script = silent
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask, site, "new")
            await trio.testing.wait_all_tasks_blocked()
            status, body = await ask(site, "a")
            assert (status, body["model"]) == (200, "a")
            assert sent(site, "old")["model"] == "old"
            nursery.cancel_scope.cancel()


async def test_a_build_that_left_the_catalogue_is_passed_over(autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="old")) as site:
        assert (await ask(site, "a"))[0] == 200


async def test_an_alias_of_nothing_is_503_without_retry(autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="other")) as site:
        status, headers, body = await site.ask("POST", PATH, body={"model": "a", "messages": MESSAGES})
        assert (status, error_of(body)["code"], error_of(body)["param"]) == (503, "model_unavailable", "model")
        assert "retry-after" not in headers
        assert headers["x-should-retry"] == "false"


async def test_a_key_s_allow_list_knows_the_name_as_sent(autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="new"), CatalogEntry(id="old")) as site:
        site.keys.special["few"] = Identity(account_id="x", key_id="k", allowed_models=frozenset({"a"}))
        assert (await ask(site, "a", key="few"))[0] == 200
        assert (await ask(site, "new", key="few"))[0] == 403


async def test_a_build_by_its_own_name_has_no_fallback(autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="new"), CatalogEntry(id="old"), offered=("old",)) as site:
        assert (await ask(site, "new"))[0] == 429


# --- shed models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new", "a"])
async def test_a_model_that_is_switched_off_is_429(name: str, autojump_clock: MockClock) -> None:
    policy = {"reject_models": frozenset({"new", "old"} if name == "new" else {"a"})}
    async with models(CatalogEntry(id="new"), CatalogEntry(id="old"), policy=policy) as site:
        for asked in {name, "a"}:
            status, headers, body = await site.ask("POST", PATH, body={"model": asked, "messages": MESSAGES})
            assert (status, error_of(body)["reason"], headers["retry-after"]) == (429, "model_shed", "30")


async def test_of_two_builds_the_one_that_is_not_switched_off_serves(autojump_clock: MockClock) -> None:
    async with models(
        CatalogEntry(id="new"), CatalogEntry(id="old"), policy={"reject_models": frozenset({"new"})}
    ) as site:
        assert (await ask(site, "a"))[0] == 200
        assert sent(site, "old")["model"] == "old"


# --- bounds and defaults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "bound"),
    [({}, 50), ({"max_tokens": 20}, 20), ({"max_tokens": 70}, 50), ({"max_completion_tokens": 70}, 50)],
)
async def test_the_model_bounds_the_answer(members: dict[str, int], bound: int, autojump_clock: MockClock) -> None:
    async with models(CatalogEntry(id="new", max_output=50)) as site:
        assert (await ask(site, "new", **members))[0] == 200
        given = sent(site, "new")
        assert {given[name] for name in ("max_tokens", *members)} == {bound}


async def test_defaults_stand_where_the_caller_said_nothing(autojump_clock: MockClock) -> None:
    defaults: dict[str, bool | int | float | str] = {
        "temperature": 0.7, "top_p": 0.9, "top_k": 20, "max_tokens": 3, "model": "evil", "stream": True, "user": "u",
    }  # fmt: skip
    async with models(CatalogEntry(id="new", defaults=defaults)) as site:
        assert (await ask(site, "new", temperature=0, top_p=None))[0] == 200
        given = sent(site, "new")
        assert (given["temperature"], given["top_p"], given["top_k"]) == (0, 0.9, 20)
        assert (given["model"], given["stream"], given["max_tokens"]) == ("new", False, 8192)
        assert "user" not in given


# --- abilities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "param", "feature"),
    [
        ({"tools": [TOOL]}, "tools", "tools"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice", "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format", "json_mode"),
        ({"response_format": SCHEMA}, "response_format", "structured_outputs"),
        ({"logprobs": True}, "logprobs", "logprobs"),
    ],
)  # fmt: skip
async def test_what_a_model_cannot_do(
    members: dict[str, Any], param: str, feature: str, autojump_clock: MockClock
) -> None:
    async with models(CatalogEntry(id="new", features=()), CatalogEntry(id="other")) as site:
        status, body = await ask(site, "new", **members)
        assert (status, body["error"]["param"]) == (400, param)
        assert site.world.channels["new"].seen == []
        site.world.registry.set_catalog([CatalogEntry(id="new", features=(feature,))], trio.current_time())
        status, body = await ask(site, "new", **members)
        assert status == 200 or param == "tool_choice"
        site.world.registry.set_catalog([CatalogEntry(id="new")], trio.current_time())
        assert (await ask(site, "new", **members))[0] == status


async def test_of_two_builds_one_that_can_is_enough(autojump_clock: MockClock) -> None:
    wanted = {"response_format": {"type": "json_object"}}
    async with models(CatalogEntry(id="new", features=()), CatalogEntry(id="old", features=("json_mode",))) as site:
        assert (await ask(site, "a", **wanted))[0] == 200
        assert (await ask(site, "new", **wanted))[0] == 400


# --- thinking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "reasoning"),
    [
        ({}, {"enabled": False}),
        ({"reasoning_effort": "high"}, {"enabled": True}),
        ({"reasoning_effort": "none"}, {"enabled": False}),
        ({"reasoning_effort": " "}, {"enabled": False}),
        ({"reasoning": {"enabled": True}}, {"enabled": True}),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "none"}, {"effort": "low"}),
    ],
)
async def test_a_model_that_thinks_on_request(
    members: dict[str, Any], reasoning: object, autojump_clock: MockClock
) -> None:
    async with models(CatalogEntry(id="new", reasoning_opt_in=True)) as site:
        assert (await ask(site, "new", **members))[0] == 200
        assert sent(site, "new")["reasoning"] == reasoning


async def test_aggregators_opt_in_for_every_reasoning_model(autojump_clock: MockClock) -> None:
    entries = (CatalogEntry(id="new", features=("reasoning",)), CatalogEntry(id="other", features=("tools",)))
    async with models(*entries) as site:
        site.keys.special["partner"] = Identity(account_id="x", key_id="k", role="service")
        await ask(site, "new", key="partner")
        assert sent(site, "new")["reasoning"] == {"enabled": False}
        await ask(site, "other", key="partner")
        assert "reasoning" not in sent(site, "other")
        await ask(site, "new")
        assert "reasoning" not in sent(site, "new")


@pytest.mark.parametrize("features", [("reasoning",), ("tools",), None])
@pytest.mark.parametrize("stream", [True, False])
async def test_tags_are_thoughts_for_reasoning_models_alone(
    features: tuple[str, ...] | None, stream: bool, autojump_clock: MockClock
) -> None:
    async with models(CatalogEntry(id="new", features=features)) as site:
        site.world.channels["new"].script = saying("<think>hm</think>", "Hi")
        _, _, found = await site.ask("POST", PATH, body={"model": "new", "messages": MESSAGES, "stream": stream})
        assert (b"<think>" in found) == (features != ("reasoning",))
        assert (b'"reasoning"' in found) == (features == ("reasoning",))
