"""`/v1/models/catalog`: what the catalogue holds, for machines that download models and for everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request, model_not_found
from server.api.gate import answer_store_outage
from server.api.json_answer import timestamp
from server.api.public_answer import public_answer
from server.catalog.records import MODEL_TYPES
from server.catalog.rows import read_manifest
from server.store import Invalid

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.catalog import Alias, CatalogModel, ModelDirectory
    from server.store import Store

FRESH_SECONDS: Final = 10
MANIFEST_SECONDS: Final = 60
_GIGABYTE: Final = 1_000_000_000


def catalog_blueprint(directory: ModelDirectory, store: Store, *, cdn_url: str | None) -> Blueprint:
    """Serve entries, aliases and manifests to anybody."""
    blueprint = Blueprint("catalog", __name__)
    answer_store_outage(blueprint)

    @blueprint.get("/v1/models/catalog")
    async def entries() -> Response:
        kind = request.args.get("type")
        if kind is not None and kind not in MODEL_TYPES:
            raise invalid_request(f"type must be one of {', '.join(MODEL_TYPES)}.", param="type")
        shown = [model for model in directory.models() if kind is None or model.facts.model_type == kind]
        return public_answer(
            {
                "models": [catalog_answer(model) for model in shown],
                "aliases": [public_alias(alias) for alias in directory.aliases()],
                "cdn_url": cdn_url,
            },
            seconds=FRESH_SECONDS,
        )

    @blueprint.get("/v1/models/catalog/<path:model>")
    async def entry(model: str) -> Response:
        found = directory.model(model)
        if found is None:
            raise model_not_found(model)
        return public_answer(catalog_answer(found), seconds=FRESH_SECONDS)

    @blueprint.get("/v1/models/catalog/manifest/<path:model>")
    async def manifest(model: str) -> Response:
        version = request.args.get("version") or None
        try:
            found = await store.read(lambda tx: read_manifest(tx, model, version))
        except Invalid:
            found = None
        if found is None:
            raise ApiError(404, "not_found", "No published files are known of this model and version.")
        return public_answer(found, seconds=MANIFEST_SECONDS)

    return blueprint


def catalog_answer(model: CatalogModel) -> dict[str, object]:
    """An entry as everybody sees it; "" and 0 where something is not known."""
    facts, version = model.facts, model.version
    prefix = version.r2_prefix if version is not None else ""
    weights = version.aggregate_sha256 if version is not None else ""
    size = version.total_size_bytes if version is not None else 0
    return {
        "id": model.id,
        "display_name": model.title,
        "family": facts.family,
        "architecture": facts.architecture,
        "quantization": facts.quantization,
        "description": facts.description,
        "model_type": facts.model_type,
        "status": facts.status,
        "active": model.is_served,
        "size_gb": round(size / _GIGABYTE, 3),
        "total_size_bytes": size,
        "file_count": version.file_count if version is not None else 0,
        "min_ram_gb": facts.min_ram_gb,
        "max_context_length": facts.max_context_length,
        "max_output_length": facts.max_output_length,
        "capabilities": list(facts.capabilities),
        "runtime_parameters": facts.runtime_parameters,
        "hugging_face_id": facts.hugging_face_id,
        "deprecation_date": facts.deprecation_date or None,
        "version": version.version if version is not None else "",
        "r2_prefix": prefix,
        "s3_name": prefix,
        "aggregate_sha256": weights,
        "weight_hash": weights,
        "created_at": timestamp(model.created_at),
        "updated_at": timestamp(model.updated_at),
    }


def public_alias(alias: Alias) -> dict[str, object]:
    """An alias as everybody sees it."""
    return {
        "id": alias.id,
        "display_name": alias.display_name,
        "desired_build": alias.desired_build,
        "previous_build": alias.previous_build or None,
    }
