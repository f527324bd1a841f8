"""`/v1/admin/models…`: publishers enter models and versions, and say which names stand for which builds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

import msgspec
from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request, payload_too_large
from server.accounts.callers import credential_of
from server.accounts.guards import require_publishing
from server.api.catalog import catalog_answer
from server.api.gate import answer_store_outage, client_ip, private_answer
from server.api.pricing import refusal
from server.catalog import alias_rows, rows
from server.catalog.published import NotPublished
from server.catalog.rows import iso_time
from server.catalog.wishes import AliasWish, FactsWish, Promotion, Registration, Removal
from server.observe import request_notes
from server.store import Conflict, Invalid, NotFound, Tx

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.publishing_keys import PublishingKeys
    from server.catalog import Alias, CatalogActs, CatalogModel, Version
    from server.limits import NetworkLimits
    from server.store import Store

T = TypeVar("T")

_ENUM_VALUE: Final = re.compile(r"Invalid enum value .*(?= - at )", re.DOTALL)
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
    _answer_row_errors(blueprint)

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
        return _model("model_registered", await acts.register(actor, await _body(Registration)))

    @blueprint.post("/v1/admin/models/set")
    async def set_facts() -> Response:
        actor = await publisher()
        return _model("model_set", await acts.set_facts(actor, await _body(FactsWish)))

    @blueprint.post("/v1/admin/models/promote")
    async def promote() -> Response:
        actor = await publisher()
        return _model("model_promoted", await acts.promote(actor, await _body(Promotion)))

    @blueprint.post("/v1/admin/models/remove")
    async def remove() -> Response:
        actor = await publisher()
        wish = await _body(Removal)
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
        saved = await acts.save_alias(actor, await _body(AliasWish))
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
        "created_at": iso_time(alias.created_at),
        "updated_at": iso_time(alias.updated_at),
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
            "uploaded_at": iso_time(one.uploaded_at),
            "active": one.version == active,
        }
        for one in versions
    ]


async def _body(kind: type[T]) -> T:
    """Read the body as a record; raises ApiError 400 with the member at fault, or 413."""
    body = cast(bytes, await request.get_data(cache=False))
    if len(body) > MAX_BODY_BYTES:
        raise payload_too_large(MAX_BODY_BYTES)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        # The texts of this library name members, types and bounds; of values only those that are not in a list.
        text = _ENUM_VALUE.sub("Unknown value", str(error))
        raise invalid_request(f"The body cannot be used: {text}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid_request("The body is not JSON; send a JSON object in UTF-8.") from None


def _answer_row_errors(blueprint: Blueprint) -> None:
    @blueprint.errorhandler(Invalid)
    @blueprint.errorhandler(NotPublished)
    async def invalid(error: Exception) -> Response:
        return refusal(invalid_request(str(error)))

    @blueprint.errorhandler(NotFound)
    async def not_found(error: NotFound) -> Response:
        return refusal(ApiError(404, "not_found", str(error)))

    @blueprint.errorhandler(Conflict)
    async def conflict(error: Conflict) -> Response:
        return refusal(ApiError(409, "conflict", str(error), retryable=False))
