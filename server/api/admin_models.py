"""`/v1/admin/models…`: publishers enter models and versions, and say which names stand for which builds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request
from server.accounts.callers import credential_of
from server.accounts.guards import require_publishing
from server.api.catalog import catalog_answer
from server.api.gate import answer_store_outage, client_ip, private_answer
from server.api.json_answer import refusal, timestamp
from server.api.row_errors import answer_row_errors
from server.api.typed_body import typed_body
from server.catalog import alias_rows, rows
from server.catalog.refused import NotPublished
from server.catalog.wishes import AliasWish, FactsWish, Promotion, Registration, Removal
from server.observe import request_notes
from server.store import Tx

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.publishing_keys import PublishingKeys
    from server.catalog import Alias, CatalogActs, CatalogModel, Version
    from server.limits import NetworkLimits
    from server.store import Store

PUBLISHING_HEADER: Final = "X-Darkbloom-Publishing-Key"
MAX_BODY_BYTES: Final = 2 * 1024 * 1024
"""A manifest of a megabyte, and room for it to be written with more white space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminModelServices:
    """What the endpoints work with; `limits` count keys that are none."""

    keys: PublishingKeys
    acts: CatalogActs
    store: Store
    limits: NetworkLimits


def admin_models_blueprint(services: AdminModelServices) -> Blueprint:
    """Serve the catalogue to publishers: a publishing key, or the admin key; nothing else."""
    blueprint = Blueprint("admin_models", __name__)
    acts = services.acts
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)
    _answer_not_published(blueprint)

    async def publisher() -> str:
        token = credential_of(request.headers.get("Authorization", ""), "").token
        try:
            name = await require_publishing(request.headers.get(PUBLISHING_HEADER), token, services.keys)
        except ApiError as error:
            if error.status == 403:
                services.limits.take("failed_bearer", client_ip())
            raise
        request_notes().account_id = f"publishing:{name}"
        return f"publishing:{name}"

    @blueprint.get("/v1/admin/models")
    async def models() -> Response:
        await publisher()

        async def look(tx: Tx) -> tuple[list[CatalogModel], dict[str, list[Version]]]:
            return await rows.read_models(tx), await rows.versions_of(tx)

        found, versions = await services.store.read(look)
        return private_answer(
            {"models": [{**catalog_answer(one), "versions": _versions(one, versions.get(one.id, []))} for one in found]}
        )

    @blueprint.post("/v1/admin/models/register")
    async def register() -> Response:
        actor = await publisher()
        return _model(
            "model_registered", await acts.register(actor, await typed_body(Registration, limit_bytes=MAX_BODY_BYTES))
        )

    @blueprint.post("/v1/admin/models/set")
    async def set_facts() -> Response:
        actor = await publisher()
        return _model("model_set", await acts.set_facts(actor, await typed_body(FactsWish, limit_bytes=MAX_BODY_BYTES)))

    @blueprint.post("/v1/admin/models/promote")
    async def promote() -> Response:
        actor = await publisher()
        return _model(
            "model_promoted", await acts.promote(actor, await typed_body(Promotion, limit_bytes=MAX_BODY_BYTES))
        )

    @blueprint.post("/v1/admin/models/remove")
    async def remove() -> Response:
        actor = await publisher()
        wish = await typed_body(Removal, limit_bytes=MAX_BODY_BYTES)
        await acts.remove(actor, wish)
        return private_answer({"status": "model_removed", "id": wish.model_id})

    @blueprint.get("/v1/admin/models/aliases")
    async def aliases() -> Response:
        await publisher()
        found = await services.store.read(alias_rows.read_aliases)
        return private_answer({"aliases": [alias_answer(one) for one in found]})

    @blueprint.post("/v1/admin/models/aliases")
    async def save_alias() -> Response:
        actor = await publisher()
        saved = await acts.save_alias(actor, await typed_body(AliasWish, limit_bytes=MAX_BODY_BYTES))
        return private_answer({"status": "alias_saved", "alias": alias_answer(saved)})

    @blueprint.delete("/v1/admin/models/aliases/<path:alias>")
    async def delete_alias(alias: str) -> Response:
        actor = await publisher()
        await acts.delete_alias(actor, alias)
        return private_answer({"status": "alias_deleted", "id": alias})

    return blueprint


def alias_answer(alias: Alias) -> dict[str, object]:
    """An alias as publishers see it."""
    return {
        "id": alias.id,
        "display_name": alias.display_name,
        "desired_build": alias.desired_build,
        "previous_build": alias.previous_build or None,
        "retired_builds": list(alias.retired_builds),
        "active": alias.active,
        "created_at": timestamp(alias.created_at),
        "updated_at": timestamp(alias.updated_at),
    }


def _model(status: str, model: CatalogModel) -> Response:
    return private_answer({"status": status, "model": catalog_answer(model)})


def _versions(model: CatalogModel, versions: list[Version]) -> list[dict[str, object]]:
    active = model.version.version if model.version is not None else None
    return [
        {
            "version": one.version,
            "r2_prefix": one.r2_prefix,
            "aggregate_sha256": one.aggregate_sha256,
            "total_size_bytes": one.total_size_bytes,
            "file_count": one.file_count,
            "uploaded_by": one.uploaded_by,
            "uploaded_at": timestamp(one.uploaded_at),
            "active": one.version == active,
        }
        for one in versions
    ]


def _answer_not_published(blueprint: Blueprint) -> None:
    @blueprint.errorhandler(NotPublished)
    async def not_published(error: NotPublished) -> Response:
        return refusal(invalid_request(str(error)))
