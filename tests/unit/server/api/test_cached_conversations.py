"""A conversation stays with the machine that has it in memory; nobody else's follows it, and nothing tells of it."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio

from protocol.api import parse_chat_request
from server.accounts import Identity
from server.api.prefix_keys import prefix_keys
from server.observe import Metrics
from server.observe.exposition import render
from server.observe.observers import RelayMetrics
from server.registry.decision import ChoicePath
from tests.unit.server.api.site import KEY, open_site
from tests.unit.server.relay.relay_world import MODEL, ROLE, STOP, delta

if TYPE_CHECKING:
    from server.registry.traces import Attempt
    from tests.unit.server.api.site import Site
    from tests.unit.server.relay.relay_world import Script, Served

CANARY = "canary-in-the-coal-mine"
SYSTEM = {"role": "system", "content": f"{CANARY} " * 200}
OTHER = "sk-db-other"
ROOM = {"max_body_bytes": 1_000_000}


class Machine:
    """Keeps what it computed under the scope of the request, as a real one does."""

    def __init__(self) -> None:
        self.kept: dict[str, list[str]] = {}
        self.cached: list[int] = []

    def script(self) -> Script:
        async def answer(served: Served) -> None:
            await trio.lowlevel.checkpoint()
            text = json.dumps(served.body["messages"])[:-1]
            known = [one for one in self.kept.get(served.cache_scope, []) if text.startswith(one)]
            cached = max(map(len, known), default=0) // 4
            self.kept.setdefault(served.cache_scope, []).append(text)
            self.cached.append(cached)
            for piece in (ROLE, delta("yes"), STOP, b"data: [DONE]\n\n"):
                served.say(piece)
            served.complete(prompt=len(text) // 4 + 1, cached=cached, cache_outcome="hit" if cached else "miss_absent")

        return answer


class Talk:
    """One conversation of one caller, who may name an end user."""

    def __init__(self, site: Site, key: str = KEY, **names: str) -> None:
        self.site = site
        self.key = key
        self.names = names
        self.messages: list[dict[str, str]] = [SYSTEM]

    async def say(self, text: str) -> Attempt:
        """Send another turn, and say how its machine was found."""
        self.messages.append({"role": "user", "content": text})
        body: dict[str, Any] = {"model": MODEL, "messages": self.messages, **self.names}
        status, headers, answer = await self.site.ask("POST", "/v1/chat/completions", body=body, key=self.key)
        assert (status, CANARY in str(headers)) == (200, False)
        self.messages.append(json.loads(answer)["choices"][0]["message"])
        traces = self.site.world.registry.traces
        (last,) = traces.of(next(reversed(traces._traces)))
        return last


def machines(site: Site, *names: str) -> dict[str, Machine]:
    found = {name: Machine() for name in names}
    for name, machine in found.items():
        site.world.provider(name, machine.script())
    return found


async def test_a_conversation_stays_with_its_machine_and_moves_when_that_leaves(autojump_clock: object) -> None:
    async with open_site(**ROOM) as site:
        found = machines(site, "a", "b", "c")
        talk = Talk(site)
        first = await talk.say("how are you? " * 20)
        assert first.path is not ChoicePath.CACHED
        for number in range(6):
            turn = await talk.say(f"and then {number}? " * 20)
            assert (turn.path, turn.provider_id) == (ChoicePath.CACHED, first.provider_id)
            assert turn.cost is not None
            assert turn.cost.cached < 0
        assert first.provider_id is not None
        home = found.pop(first.provider_id)
        assert all(home.cached[1:])
        site.world.registry.disconnect(first.provider_id, trio.current_time(), graceful=False)
        moved = await talk.say("still there?")
        assert (moved.path is ChoicePath.CACHED, moved.provider_id in found) == (False, True)
        stayed = await talk.say("good")
        assert (stayed.path, stayed.provider_id) == (ChoicePath.CACHED, moved.provider_id)


async def test_another_account_cannot_tell_what_was_asked(autojump_clock: object) -> None:
    async with open_site(**ROOM) as site:
        site.keys.special[OTHER] = Identity(account_id="bob", key_id="k2", covered=True, unlimited=True)
        (machine,) = machines(site, "a").values()
        talk, probe = Talk(site), Talk(site, OTHER)
        for _ in range(2):
            await talk.say("the same question")
        guess = await probe.say("the same question")
        assert guess.path is not ChoicePath.CACHED
        assert machine.cached[-1] == 0
        assert (await probe.say("and another")).path is ChoicePath.CACHED


PARTNER = Identity(account_id="market", key_id="k2", role="service", covered=True, unlimited=True)


@pytest.mark.parametrize("member", ["user", "safety_identifier"])
async def test_an_end_user_of_a_partner_cannot_tell_what_another_one_asked(autojump_clock: object, member: str) -> None:
    async with open_site(**ROOM) as site:
        site.keys.special[OTHER] = PARTNER
        (machine,) = machines(site, "a").values()
        talk, probe = Talk(site, OTHER, **{member: "ada"}), Talk(site, OTHER, **{member: "bob"})
        for expected in (False, True):
            turn = await talk.say("I am ill")
            assert (turn.path is ChoicePath.CACHED, machine.cached[-1] > 0) == (expected, expected)
        guess = await probe.say("I am ill")
        assert (guess.path is ChoicePath.CACHED, machine.cached[-1]) == (False, 0)
        assert (await probe.say("and another")).path is ChoicePath.CACHED


async def test_end_users_who_are_not_named_are_not_led_to_the_caches_of_others(autojump_clock: object) -> None:
    async with open_site(**ROOM) as site:
        site.keys.special[OTHER] = PARTNER
        machines(site, "a", "b")
        talk = Talk(site, OTHER)
        for _ in range(3):
            assert (await talk.say("I am ill")).path is not ChoicePath.CACHED
        assert len(site.world.registry.holders) == 0


async def test_neither_prompts_nor_keys_are_told_to_anybody(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    metrics = Metrics()
    async with open_site(limits={"observer": RelayMetrics(metrics)}, **ROOM) as site:
        machines(site, "a", "b")
        talk = Talk(site)
        for _ in range(3):
            await talk.say("secretly")
        body = json.dumps({"model": MODEL, "messages": talk.messages}).encode()
        identity = await site.keys.authenticate(KEY)
        assert isinstance(identity, Identity)
        keys = prefix_keys(site.services.cache_secret, identity.account_id, parse_chat_request(body))
        assert any(site.world.registry.holders.of(MODEL, key, trio.current_time()) for key in keys)
        told = [repr(record.__dict__) for record in caplog.records]
        counted = render(metrics.families.registry, "")[0].decode()
        assert 'darkbloom_cache_answers_total{model="m",outcome="hit"} 2.0' in counted
        told += [counted, repr(site.world.registry.holders), repr(keys)]
        told.append(repr(site.world.registry.traces.of(next(reversed(site.world.registry.traces._traces)))))
    for secret in (CANARY, *(key.digest.hex() for key in keys), *(repr(key.digest)[2:-1] for key in keys)):
        assert not any(secret in text for text in told)


@pytest.mark.parametrize("changes", [{"policy": {"cache_routing": False}}, {}], ids=["off", "own machines"])
async def test_where_nothing_is_routed_by_caches_no_keys_are_made(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("No keys are needed.")

    monkeypatch.setattr("server.api.inference.prefix_keys", never)
    async with open_site(limits=changes, **ROOM) as site:
        machines(site, "a")
        site.keys.special[OTHER] = Identity(account_id="owner", key_id="k2", self_route_only=not changes)
        body = {"model": MODEL, "messages": [SYSTEM]}
        status, _, _ = await site.ask("POST", "/v1/chat/completions", body=body, key=OTHER)
        assert status == 200
        assert len(site.world.registry.holders) == 0
