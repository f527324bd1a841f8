"""What publishers do: entries, versions and aliases; each act is kept whole or not at all, and leaves its audit row."""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from server.billing.ledger import PLATFORM
from server.billing.price_book import read_price
from server.catalog import rows
from server.catalog.refused import NotPublished
from server.registry import CatalogEntry
from server.store import Conflict, Invalid, NotFound, Store
from tests.unit.server.catalog.catalog_world import ACTOR, MODEL, CatalogWorld, manifest_of, registration


async def test_registering_enters_and_serves_a_version(store: Store) -> None:
    world = CatalogWorld(store)
    made = await world.register(
        display_name="Model", max_context_length=4096, capabilities=["tools", "reasoning"], min_ram_gb=8
    )
    manifest = manifest_of()
    assert made.version is not None
    assert (made.id, made.title, made.version.version) == (MODEL, "Model", "1.0")
    assert (made.version.aggregate_sha256, made.version.file_count) == (manifest.aggregate_sha256, 3)
    assert made.version.uploaded_by == ACTOR
    assert world.book.model(MODEL) == made
    (entry,) = world.told[-1] or []
    assert (entry.id, entry.weight_hash, entry.context_window, entry.min_ram_gb, entry.active) == (
        MODEL,
        manifest.aggregate_sha256,
        4096,
        8.0,
        True,
    )
    assert entry.size_gb == manifest.total_size_bytes / 1e9
    assert entry.features == ("tools", "reasoning")
    assert await store.read(lambda tx: rows.read_manifest(tx, MODEL)) == manifest
    assert await world.audited() == [(ACTOR, "model.register", MODEL)]


async def test_the_same_version_again_changes_nothing_and_other_files_are_refused(store: Store) -> None:
    world = CatalogWorld(store)
    first = await world.register()
    again = await world.register(structs.replace(manifest_of(), created_at="2027-01-01T00:00:00Z"))
    assert again.version == first.version
    with pytest.raises(Conflict, match="other files"):
        await world.register(manifest_of(model_safetensors=b"OTHER"))
    assert (await store.read(rows.versions_of))[MODEL] == [first.version]
    assert [act for _, act, _ in await world.audited()] == ["model.register"] * 2


async def test_versions_are_promoted_and_rolled_back(store: Store) -> None:
    world = CatalogWorld(store)
    await world.register()
    newer = manifest_of(version="2.0", model_safetensors=b"NEWER")
    staged = await world.register(newer, activate=False)
    assert staged.version is not None
    assert staged.version.version == "1.0"
    promoted = await world.promote("2.0")
    assert promoted.version is not None
    assert promoted.version.aggregate_sha256 == newer.aggregate_sha256
    assert (world.told[-1] or [])[0].weight_hash == newer.aggregate_sha256
    assert await store.read(lambda tx: rows.read_manifest(tx, MODEL)) == newer
    assert await store.read(lambda tx: rows.read_manifest(tx, MODEL, "1.0")) == manifest_of()
    await world.promote("1.0")
    assert (world.told[-1] or [])[0].weight_hash == manifest_of().aggregate_sha256
    with pytest.raises(NotFound, match="never registered"):
        await world.promote("3.0")
    with pytest.raises(NotFound, match="not in the catalogue"):
        await world.promote("1.0", model_id="other")
    assert [one.version for one in (await store.read(rows.versions_of))[MODEL]] == ["2.0", "1.0"]


async def test_facts_change_one_by_one(store: Store) -> None:
    world = CatalogWorld(store)
    await world.register(display_name="Model", family="f", runtime_parameters={"temperature": 0.7, "top_k": 40})
    changed = await world.set(max_output_length=512, reasoning_opt_in=True, hugging_face_id="org/model")
    assert (changed.title, changed.facts.family, changed.facts.max_output_length) == ("Model", "f", 512)
    assert changed.version is not None
    (entry,) = world.told[-1] or []
    assert (entry.max_output, entry.reasoning_opt_in) == (512, True)
    assert entry.defaults == {"temperature": 0.7, "top_k": 40}
    assert changed.created_at < changed.updated_at


async def test_a_model_may_have_no_files(store: Store) -> None:
    world = CatalogWorld(store)
    made = await world.set("demo", description="Small.")
    assert (made.version, made.facts.status) == (None, "active")
    assert (world.told[-1] or [])[0] == CatalogEntry(id="demo")


async def test_prices_are_set_with_the_version(store: Store) -> None:
    world = CatalogWorld(store)
    await world.register(input_price=60_000, output_price=120_000)
    price = await store.read(lambda tx: read_price(tx, PLATFORM, MODEL))
    assert price is not None
    assert (price.input, price.output) == (60_000, 120_000)
    assert world.priced == [MODEL]
    with pytest.raises(Invalid, match="both or neither"):
        await world.register(input_price=60_000)


async def test_retiring_the_last_model_closes_the_catalogue(store: Store) -> None:
    world = CatalogWorld(store)
    await world.register()
    assert world.book.configured
    await world.remove()
    assert world.book.model(MODEL) is None
    assert [one.active for one in world.told[-1] or []] == [False]
    assert world.book.configured
    again = CatalogWorld(store)
    await again.book.refresh()
    assert again.book.configured
    with pytest.raises(NotFound):
        await world.remove("unknown")
    await world.set(status="active")
    assert world.book.model(MODEL) is not None


async def test_aliases_follow_their_builds(store: Store) -> None:
    world = CatalogWorld(store)
    for build in ("b1", "b2", "b3"):
        await world.set(build)
    first = await world.alias("chat", "b1", display_name="Chat")
    assert (first.desired_build, first.previous_build, first.display_name) == ("b1", "", "Chat")
    second = await world.alias("chat", "b2")
    assert (second.previous_build, second.display_name) == ("b1", "Chat")
    assert world.book.resolve("chat") == ("chat", "b2", "b1")
    assert world.book.is_hidden("b1")
    assert world.book.is_hidden("b2")
    assert not world.book.is_hidden("b3")
    same = await world.alias("chat", "b2", retired_builds=["b3"])
    assert same.previous_build == "b1"
    assert world.book.is_hidden("b3")
    assert (await world.alias("chat", "b3", previous_build="")).previous_build == ""
    off = await world.alias("chat", "b3", active=False)
    assert not off.active
    assert world.book.resolve("chat") is None
    assert not world.book.is_hidden("b3")
    await world.acts.delete_alias(ACTOR, "chat")
    with pytest.raises(NotFound, match="no alias"):
        await world.acts.delete_alias(ACTOR, "chat")


@pytest.mark.parametrize(
    ("alias", "desired", "text"),
    [
        ("chat", "unknown", "not in the catalogue"),
        ("chat", "chat", "stand for itself"),
        ("other", "named", "another alias"),
        ("catalog/x", "b1", "path of its own"),
        ("../x", "b1", "1 to 256"),
        ("x", "a b", "1 to 256"),
    ],
)
async def test_impossible_aliases(store: Store, alias: str, desired: str, text: str) -> None:
    world = CatalogWorld(store)
    await world.set("b1")
    await world.alias("named", "b1")
    with pytest.raises(Invalid, match=text):
        await world.alias(alias, desired)


async def test_without_a_catalogue_an_alias_may_stand_for_anything(store: Store) -> None:
    world = CatalogWorld(store)
    await world.alias("chat", "whatever")
    assert world.book.resolve("chat") == ("chat", "whatever", None)
    assert world.told == []


async def test_a_model_behind_an_alias_is_not_retired(store: Store) -> None:
    world = CatalogWorld(store)
    await world.set("b1")
    await world.alias("chat", "b1")
    with pytest.raises(Conflict, match="'chat'"):
        await world.remove("b1")
    with pytest.raises(Conflict, match="'chat'"):
        await world.set("b1", status="retired")
    await world.alias("chat", "b1", active=False)
    await world.remove("b1")


@pytest.mark.parametrize("name", ["catalog", "openrouter/x", "capacity", "/x", "a..b", "", "a b"])
async def test_names_that_cannot_stand_in_a_path(store: Store, name: str) -> None:
    with pytest.raises(Invalid):
        await CatalogWorld(store).set(name)


async def test_a_manifest_must_be_the_requests(store: Store) -> None:
    world = CatalogWorld(store)
    with pytest.raises(NotPublished, match="another version"):
        await world.acts.register(ACTOR, structs.replace(registration(), version="9"))
    with pytest.raises(NotPublished, match="another model id"):
        await world.acts.register(ACTOR, structs.replace(registration(), model_id="other"))
    broken = structs.replace(manifest_of(), aggregate_sha256="0" * 64)
    with pytest.raises(NotPublished, match="weight hash"):
        await world.register(broken)
    with pytest.raises(NotPublished, match="MODEL_CDN_URL"):
        await world.acts.register(ACTOR, structs.replace(registration(), manifest=UNSET))
    assert await world.audited() == []
    assert await store.read(rows.read_models) == []
