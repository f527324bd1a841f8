"""A catalogue over a real store, with a manifest to publish and a record of what routing was told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from protocol.manifest import Manifest, ManifestFile, aggregate_of, encode_manifest, prefix_of
from protocol.weight_hash import role_of
from server.accounts.changes import Changes
from server.administration import audit
from server.administration.operator import Operator
from server.catalog import Alias, CatalogActs, CatalogModel, ModelBook
from server.catalog.published import PublishedFiles
from server.catalog.wishes import AliasWish, FactsWish, Promotion, Registration, Removal
from server.registry import CatalogEntry
from server.store import Store

MODEL = "org/model-4bit"
ACTOR = "publishing:ann"
FILES = {"config.json": b"{}", "model.safetensors": b"WEIGHTS", "tokenizer.json": b"{}"}


def manifest_of(model_id: str = MODEL, version: str = "1.0", **changed: bytes) -> Manifest:
    """The manifest of a build with a few small files; `changed` replaces contents by name, `_` standing for a dot."""
    contents = FILES | {name.replace("_", "."): content for name, content in changed.items()}
    files = tuple(
        ManifestFile(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), role=role_of(path))
        for path, content in sorted(contents.items())
    )
    return Manifest(
        schema_version=1,
        model_id=model_id,
        version=version,
        r2_prefix=prefix_of(model_id, version),
        aggregate_sha256=aggregate_of(files) or "",
        total_size_bytes=sum(file.size_bytes for file in files),
        file_count=len(files),
        files=files,
        created_at="2026-01-02T03:04:05Z",
    )


def registration(manifest: Manifest | None = None, **members: Any) -> Registration:
    """What a publisher sends, read as the endpoint reads it."""
    made = manifest if manifest is not None else manifest_of()
    body = {
        "model_id": made.model_id,
        "version": made.version,
        "manifest": json.loads(encode_manifest(made)),
        **members,
    }
    return msgspec.json.decode(json.dumps(body), type=Registration)


class CatalogWorld:
    """`told` are the entries that routing got, newest last."""

    def __init__(
        self,
        store: Store,
        *,
        file_entries: Iterable[CatalogEntry] | None = None,
        file_aliases: Iterable[Alias] = (),
        files: PublishedFiles | None = None,
    ) -> None:
        self.store = store
        self.now = 1_780_000_000_000_000
        self.told: list[list[CatalogEntry] | None] = []
        self.priced: list[str] = []
        self.book = ModelBook(store, file_entries=file_entries, file_aliases=file_aliases, on_change=self.told.append)
        self.acts = CatalogActs(
            Operator(store, changes=Changes(store), wall_clock=self._clock),
            self.book,
            files=files,
            on_priced=self.priced.append,
        )

    def _clock(self) -> int:
        self.now += 1_000_000
        return self.now

    async def register(self, manifest: Manifest | None = None, **members: Any) -> CatalogModel:
        return await self.acts.register(ACTOR, registration(manifest, **members))

    async def set(self, model_id: str = MODEL, **members: Any) -> CatalogModel:
        return await self.acts.set_facts(ACTOR, msgspec.convert({"model_id": model_id, **members}, FactsWish))

    async def promote(self, version: str, model_id: str = MODEL) -> CatalogModel:
        return await self.acts.promote(ACTOR, Promotion(model_id=model_id, version=version))

    async def remove(self, model_id: str = MODEL) -> None:
        await self.acts.remove(ACTOR, Removal(model_id=model_id))

    async def alias(self, alias_id: str, desired: str, **members: Any) -> Alias:
        wish = msgspec.convert({"id": alias_id, "desired_build": desired, **members}, AliasWish)
        return await self.acts.save_alias(ACTOR, wish)

    async def audited(self) -> list[tuple[str, str, str]]:
        rows = await self.store.read(lambda tx: audit.newest(tx, 100))
        return [(row.actor, row.action, row.target) for row in reversed(rows)]
