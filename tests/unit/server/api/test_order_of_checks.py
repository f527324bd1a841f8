"""The order in which a request is checked: of two things that are wrong, the earlier one in the public order is told.

Each fault below is one step of that order, with what it does to the request or to the coordinator and how its answer is
known. Every pair that can be wrong at the same time is tried.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from protocol.api.errors import ApiError
from protocol.messages.from_provider import ModelEntry
from server.accounts import Identity
from server.catalog import AliasTarget
from server.media import MediaFetcher
from server.registry import CatalogEntry
from server.relay.funds import FreeOfCharge
from tests.unit.server.api.site import Site, error_of, open_site
from tests.unit.server.registry.fleet import heartbeat, register_message, trusted, wire_slot
from tests.unit.server.relay.relay_world import MODEL, FakeChannel, failing, saying

PATH = "/v1/chat/completions"
KEY = "sk-db-orderly"
ALIAS = "behind-nothing"
UNKNOWN = "unknown-model"
MEDIA = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}


@dataclass
class Case:
    """A request and the coordinator that it meets, both without a fault to begin with."""

    body: dict[str, Any] = field(
        default_factory=lambda: {
            "model": MODEL,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        }
    )
    raw: bytes | None = None
    key: str | None = KEY
    identity: dict[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ("tools", "vision", "json_mode", "structured_outputs")
    rejected: set[str] = field(default_factory=set)
    broke: bool = False
    draining: bool = False
    asked_before: bool = False
    drained: bool = False
    window: int = 100_000
    failure: dict[str, Any] | None = None


@dataclass(frozen=True)
class Fault:
    """One step. `status` and `told` (members of the error) are its answer."""

    name: str
    do: Callable[[Case], None]
    status: int
    told: Mapping[str, object]


def say(**members: Any) -> Callable[[Case], None]:
    return lambda case: case.body.update(members)


def know(**members: Any) -> Callable[[Case], None]:
    return lambda case: case.identity.update(members)


def be(**members: Any) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        for name, value in members.items():
            setattr(case, name, value)

    return change


def without_model(case: Case) -> None:
    case.body.pop("model", None)


def nothing_said(case: Case) -> None:
    case.body["messages"] = []


def many_pictures(case: Case) -> None:
    parts = [{"type": "image_url", "image_url": {"url": f"http://a.test/{index}"}} for index in range(9)]
    if case.body["messages"]:
        case.body["messages"][0]["content"] += parts


def a_picture(case: Case) -> None:
    if case.body["messages"]:
        case.body["messages"][0]["content"].append(MEDIA)


def named(name: str) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        if "model" in case.body:
            case.body["model"] = name

    return change


FAULTS = [
    Fault("draining", be(draining=True), 429, {"reason": "draining"}),
    Fault("no key", be(key=None), 401, {"code": "authentication_error"}),
    Fault("too many requests", be(asked_before=True), 429, {"message": "Too many requests"}),
    Fault("too large", be(raw=b"{" + b" " * 5000), 413, {"code": "payload_too_large"}),
    Fault("no JSON", be(raw=b"{bad"), 400, {"param": None}),
    Fault("no model", without_model, 400, {"param": "model", "code": "invalid_request_error"}),
    Fault("model not allowed", know(allowed_models=frozenset({"other"})), 403, {"code": "model_not_allowed"}),
    Fault("bad bound", say(max_tokens=-1), 400, {"param": "max_tokens"}),
    Fault("no messages", nothing_said, 400, {"param": "messages", "message": "non-empty array"}),
    Fault("several answers", say(n=2), 400, {"param": "n"}),
    Fault("bad tool choice", say(tool_choice="maybe"), 400, {"param": "tool_choice"}),
    Fault("alias of nothing", named(ALIAS), 503, {"code": "model_unavailable", "param": "model"}),
    Fault("model cannot", be(features=("tools", "vision")), 400, {"param": "response_format"}),
    Fault("media refused", many_pictures, 400, {"code": "too_many_media_parts"}),
    Fault("model shed", lambda case: case.rejected.update((MODEL, ALIAS, UNKNOWN)), 429, {"reason": "model_shed"}),
    Fault("unknown model", named(UNKNOWN), 404, {"code": "model_not_found"}),
    Fault("too many tokens", be(drained=True), 429, {"message": "Too many output tokens"}),
    Fault("no money", be(broke=True), 402, {"code": "insufficient_quota"}),
    Fault("media blocked", a_picture, 403, {"code": "media_blocked"}),
    Fault("longer than the context", be(window=40), 400, {"code": "context_length_exceeded"}),
    Fault("provider fails", be(failure={"status_code": 500}), 502, {"code": "provider_error"}),
]  # fmt: skip

# A request has one body and one model; these pairs would need two.
IMPOSSIBLE = {
    ("no model", "alias of nothing"),
    ("no model", "unknown model"),
    ("alias of nothing", "unknown model"),
    ("alias of nothing", "model cannot"),
    ("model cannot", "unknown model"),
    ("media refused", "media blocked"),
    ("too large", "no JSON"),
}
PAIRS = [
    (one, two) for one, two in combinations(FAULTS, 2) if not {(one.name, two.name), (two.name, one.name)} & IMPOSSIBLE
]


FETCHER = MediaFetcher(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class Purse(FreeOfCharge):
    """Money that is there, or not."""

    def __init__(self) -> None:
        self.empty = False

    async def admit(self, job: object) -> None:
        await trio.lowlevel.checkpoint()
        if self.empty:
            raise ApiError(402, "insufficient_funds", "The balance is too low.", code="insufficient_quota")


class Names:
    """An alias without any build that exists."""

    def resolve(self, name: str) -> AliasTarget | None:
        return AliasTarget(name, "gone", None) if name == ALIAS else None


async def answer_to(case: Case) -> tuple[int, dict[str, Any]]:
    """Ask a fresh coordinator in the state of the case."""
    purse = Purse()
    limits: dict[str, Any] = {"funds": purse, "policy": {"reject_models": frozenset(case.rejected)}}
    services = {"aliases": Names(), "media": FETCHER}
    async with open_site(limits=limits, services=services) as site:
        _furnish(site, case)
        if case.asked_before:
            case.identity["rpm_limit"] = 1
        if case.drained:
            case.identity["otpm_limit"] = 1
        site.keys.special[KEY] = Identity(account_id="acct", key_id="k", **case.identity)
        if case.asked_before:
            await site.ask("POST", PATH, body=b"", key=KEY)
        if case.drained:
            site.services.door.limiter.tokens(site.keys.special[KEY], prompt=1, output_bound=100)  # type: ignore[arg-type]
        purse.empty = case.broke
        site.drain.set(draining=case.draining)
        body: object = case.raw if case.raw is not None else case.body
        status, _, found = await site.ask("POST", PATH, body=body, key=case.key)
        return status, json.loads(found)


def _furnish(site: Site, case: Case) -> None:
    """One machine that reads pictures, in a catalogue that says what its model can."""
    script = saying("fine") if case.failure is None else failing(**case.failure)
    channel = FakeChannel("p", site.world.nursery, script)
    site.world.channels["p"] = channel
    now = trio.current_time()
    site.world.registry.register(
        session_id="p",
        message=register_message(ModelEntry(id=MODEL, is_vision=True)),
        channel=channel,
        stable_id="dev-p",
        account_id="owner",
        trust=trusted(now),
        now=now,
    )
    slot = wire_slot(max_concurrency=4, active_token_budget_max=1_000_000)
    site.world.registry.heartbeat("p", heartbeat(slot), now)
    entry = CatalogEntry(id=MODEL, features=case.features, context_window=case.window)
    site.world.registry.set_catalog([entry], now)


def check(fault: Fault, answer: tuple[int, dict[str, Any]]) -> None:
    status, body = answer
    error = error_of(json.dumps(body).encode())
    assert status == fault.status, error
    for name, value in fault.told.items():
        if name == "message":
            assert str(value) in error["message"]
        else:
            assert error.get(name) == value, error


def made(*faults: Fault) -> Case:
    case = Case()
    for fault in faults:
        fault.do(case)
    # What only shows in a body that asks for it.
    if case.features == ("tools", "vision"):
        case.body["response_format"] = {"type": "json_object"}
    if case.window == 40:
        case.body.setdefault("max_tokens", 60)
    return case


async def test_without_a_fault_it_is_served(autojump_clock: MockClock) -> None:
    status, body = await answer_to(Case())
    assert (status, body["choices"][0]["message"]["content"]) == (200, "fine")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_each_fault_alone_is_told(fault: Fault, autojump_clock: MockClock) -> None:
    check(fault, await answer_to(made(fault)))


@pytest.mark.parametrize("second", range(1, len(FAULTS)), ids=lambda place: FAULTS[place].name)
async def test_the_earlier_fault_is_told(second: int, autojump_clock: MockClock) -> None:
    for one, two in PAIRS:
        if two is FAULTS[second]:
            check(one, await answer_to(made(two, one)))


def test_almost_every_pair_is_tried() -> None:
    assert len(PAIRS) == len(FAULTS) * (len(FAULTS) - 1) // 2 - len(IMPOSSIBLE)
