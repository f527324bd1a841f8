"""The lists of models: aliases over builds, who serves them, prices, three shapes, own machines alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from trio.testing import MockClock

from protocol.api.models import ModelPrice
from protocol.messages.from_provider import ModelEntry
from server.accounts import Identity
from server.api import model_list
from server.api.model_list import ModelList
from server.api.model_prices import PriceTable
from server.catalog import Alias, CatalogModel, ModelFacts
from server.catalog.book import Snapshot, snapshot_of
from server.catalog.routing import catalog_entry
from server.ports import Posture
from tests.unit.server.api.site import open_site
from tests.unit.server.registry.fleet import Fleet, register_message, trusted

BUILD = "org/model-4bit"
OLD = "org/model-8bit"
FACTS = ModelFacts(
    display_name="Model",
    description="Reads and writes.",
    quantization="4bit",
    hugging_face_id="org/model",
    max_context_length=4096,
    max_output_length=512,
    capabilities=("tools", "vision", "reasoning", "json_mode"),
    deprecation_date="2030-01-02",
)
MODELS = [
    CatalogModel(id=BUILD, facts=FACTS, created_at=1_780_000_000_000_000),
    CatalogModel(id=OLD, facts=ModelFacts(quantization="8bit")),
    CatalogModel(id="open", facts=ModelFacts()),
    CatalogModel(id="voice", facts=ModelFacts(model_type="audio")),
]
ALIASES = [Alias(id="chat", desired_build=BUILD, previous_build=OLD, display_name="Chat")]
POSTURE = Posture(se_public_key="k", secure_enclave=True, sip_enabled=True, secure_boot_enabled=True)


def fleet_of(directory: Snapshot) -> tuple[Fleet, ModelList]:
    fleet = Fleet()
    entries = [catalog_entry(model) for model in directory.models()]
    fleet.registry.set_catalog(entries or None, fleet.now)
    return fleet, ModelList(fleet.registry, directory, fleet.clock)


def offering(*models: str) -> Any:
    return register_message(*(ModelEntry(id=model) for model in models))


def test_an_alias_is_listed_and_its_builds_are_hidden() -> None:
    fleet, models = fleet_of(snapshot_of(MODELS, ALIASES))
    fleet.connect("a", message=offering(BUILD), trust=trusted(posture=POSTURE))
    fleet.connect("b", message=offering(OLD, "open"))
    found = models.public()
    assert {name: one.is_hidden for name, one in found.items()} == {
        "chat": False,
        BUILD: True,
        OLD: True,
        "open": False,
    }
    chat = found["chat"].description
    assert (chat.model, chat.name, chat.quantization, chat.provider_count) == ("chat", "Chat", None, 2)
    assert (chat.context_length, chat.max_output_length, chat.created) == (4096, 512, 1_780_000_000)
    assert chat.features == ("tools", "json_mode", "reasoning")
    assert chat.input_modalities == ("text", "image")
    assert found["chat"].build == BUILD
    assert found[BUILD].description.secure_enclave
    assert not chat.secure_enclave, "only one of its two machines has one"


def test_an_alias_stays_while_nobody_serves_it_and_falls_back() -> None:
    _, models = fleet_of(snapshot_of(MODELS, ALIASES))
    assert set(models.public()) == {"chat"}
    assert models.public()["chat"].description.provider_count == 0
    _, models = fleet_of(snapshot_of(MODELS[1:], ALIASES))
    assert models.public()["chat"].build == OLD
    _, models = fleet_of(snapshot_of(MODELS[2:], ALIASES))
    assert models.public() == {}


def test_a_large_fleet_is_looked_at_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_list, "KEEP_SECONDS_PER_MACHINE", 0.5)
    fleet, models = fleet_of(Snapshot())
    for number in range(5):
        fleet.connect(f"p{number}", message=offering("m"))
    assert models.public()["m"].description.provider_count == 5
    fleet.connect("late", message=offering("m"))
    fleet.clock.now += 1.9
    assert models.public()["m"].description.provider_count == 5
    fleet.clock.now += 0.1
    assert models.public()["m"].description.provider_count == 6


def test_only_trusted_public_machines_count() -> None:
    fleet, models = fleet_of(Snapshot())
    fleet.warm("a")
    fleet.connect("stranger", message=offering("m", "invented"), trust=trusted(admitted=False))
    fleet.connect("low", message=offering("m", "invented"), trust=trusted(level="self_signed"))
    fleet.connect("own", message=register_message(ModelEntry(id="m"), private_only=True))
    assert {name: one.description.provider_count for name, one in models.public().items()} == {"m": 1}
    fleet.registry.set_trust("stranger", trusted(), fleet.now)
    assert set(models.public()) == {"m"}, "looked at anew after a moment"
    fleet.clock.now += 0.1
    assert set(models.public()) == {"m", "invented"}


def test_own_machines() -> None:
    fleet, models = fleet_of(snapshot_of(MODELS, ALIASES))
    fleet.connect("a", message=register_message(ModelEntry(id=OLD), private_only=True))
    fleet.registry.identify("a", now=fleet.now, account_id="ann")
    fleet.connect("b", message=offering("open"))
    found = models.owned("ann")
    assert {name: one.description.owned_by for name, one in found.items()} == {OLD: "self", "chat": "self"}
    assert models.owned("eve") == {}


def test_what_may_be_resold_does_not_depend_on_who_is_connected() -> None:
    fleet, models = fleet_of(snapshot_of(MODELS, ALIASES))
    before = models.offered()
    assert set(before) == {"chat", "open"}, "no builds behind an alias, no audio"
    assert before["chat"].description.quantization == "4bit"
    fleet.connect("a", message=offering(BUILD, "open"))
    fleet.clock.now += 2
    assert set(models.offered()) == set(before)


class Prices:
    """A price for one build, and a fallback."""

    async def table(self) -> PriceTable:
        return PriceTable(
            {BUILD: ModelPrice(input_micro_usd=60_000, output_micro_usd=120_000)},
            ModelPrice(input_micro_usd=50_000, output_micro_usd=200_000, cache_read_micro_usd=5_000),
        )


def services(**more: Any) -> Mapping[str, Any]:
    return {"aliases": snapshot_of(MODELS, ALIASES), "prices": Prices(), **more}


async def listed(path: str, **headers: str) -> Any:
    """One GET with a catalogue in force; machines serve the alias's build and an open one."""
    async with open_site(services=services()) as site:
        registry = site.world.registry
        registry.set_catalog([catalog_entry(model) for model in MODELS], 0.0)
        site.keys.special["few"] = Identity(account_id="few", key_id="k", allowed_models=frozenset({"chat"}))
        site.keys.special["own"] = Identity(account_id="ann", key_id="k", self_route_only=True)
        for name, model in (("p1", BUILD), ("p2", "open")):
            registry.register(
                session_id=name,
                message=offering(model),
                channel=Channel(name),  # type: ignore[arg-type]
                stable_id=name,
                account_id="ann" if name == "p2" else None,
                trust=trusted(0.0),
                now=0.0,
            )
        status, _, body = await site.ask("GET", path, key=headers.pop("key", "sk-db-test"), **headers)
        return status, json.loads(body)


class Channel:
    public_key = b"k" * 32

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id


async def test_list_and_entry(autojump_clock: MockClock) -> None:
    status, found = await listed("/v1/models")
    assert (status, found["object"]) == (200, "list")
    assert [one["id"] for one in found["data"]] == ["chat", "open"]
    chat = found["data"][0]
    assert chat["pricing"]["prompt"] == "0.00000006"
    assert chat["pricing"]["image"] == "0"
    assert (chat["hugging_face_id"], chat["deprecation_date"], "quantization" in chat) == (
        "org/model",
        "2030-01-02",
        False,
    )
    assert found["data"][1]["pricing"]["input_cache_read"] == "0.000000005"
    status, one = await listed("/v1/models/chat")
    assert (status, one["id"], one["pricing"]) == (200, "chat", chat["pricing"])


async def test_hidden_builds_are_shown_on_request_and_by_name(autojump_clock: MockClock) -> None:
    _, found = await listed("/v1/models?include_builds=1")
    assert [one["id"] for one in found["data"]] == ["chat", "open", BUILD]
    status, one = await listed(f"/v1/models/{BUILD}")
    assert (status, one["id"], one["quantization"]) == (200, BUILD, "4bit")
    status, error = await listed("/v1/models/org/unknown")
    assert (status, error["error"]["code"], error["error"]["param"]) == (404, "model_not_found", "model")


async def test_a_key_sees_what_it_may_use(autojump_clock: MockClock) -> None:
    _, found = await listed("/v1/models?include_builds=1", key="few")
    assert [one["id"] for one in found["data"]] == ["chat"]
    assert (await listed("/v1/models/open", key="few"))[0] == 404
    _, found = await listed("/v1/models/openrouter", key="few")
    assert [one["id"] for one in found["data"]] == ["chat"]


@pytest.mark.parametrize("how", [{"key": "own"}, {"X_Darkbloom_Route": " SELF "}])
async def test_own_machines_alone(autojump_clock: MockClock, how: dict[str, str]) -> None:
    _, found = await listed("/v1/models", **how)
    expected = ["open"] if "key" in how else []
    assert [one["id"] for one in found["data"]] == expected
    if expected:
        assert found["data"][0]["owned_by"] == "self"
        assert (await listed("/v1/models/chat", **how))[0] == 404
        assert (await listed("/v1/models/open", **how))[0] == 200


async def test_anthropics_shape(autojump_clock: MockClock) -> None:
    _, found = await listed("/v1/models", anthropic_version="2023-06-01")
    assert [one["type"] for one in found["data"]] == ["model", "model"]
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("chat", "open", False)
    assert found["data"][0]["created_at"] == "2026-05-28T20:26:40Z"
    _, one = await listed("/v1/models/chat", anthropic_version="2023-06-01")
    assert one == found["data"][0]


async def test_resellers_get_every_member_and_never_null(autojump_clock: MockClock) -> None:
    status, found = await listed("/v1/models/openrouter")
    assert status == 200
    assert [one["id"] for one in found["data"]] == ["chat", "open"]
    for one in found["data"]:
        assert None not in one.values()
        needed = {"name", "created", "input_modalities", "output_modalities", "quantization", "context_length"}
        assert needed <= set(one)
        assert {"prompt", "completion", "image", "request", "input_cache_read"} == set(one["pricing"])
        assert isinstance(one["is_ready"], bool)
    assert found["data"][0]["quantization"] == "int4"
    assert found["data"][0]["deprecation_date"] == "2030-01-02"
    assert found["data"][1]["max_output_length"] == 8192
