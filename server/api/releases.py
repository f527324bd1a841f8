"""`POST /v1/releases`, and `/v1/admin/releases`: build pipelines register releases, administrators switch them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request
from server.accounts.callers import credential_of
from server.accounts.guards import require_admin, require_release_key
from server.api.admin_accounts import actor_of
from server.api.gate import answer_store_outage, client_ip, private_answer
from server.api.json_answer import refusal
from server.api.row_errors import answer_row_errors
from server.api.typed_body import typed_body
from server.api.versions import release_answer
from server.catalog.refused import ArtefactRefused
from server.catalog.release_rows import read_releases
from server.catalog.release_wish import ReleaseName, ReleaseWish
from server.observe import request_notes

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.accounts.credentials import ListedSecrets
    from server.api.gate import AccountGate
    from server.catalog.release_acts import ReleaseActs
    from server.catalog.release_rows import Release
    from server.store import Store

MAX_BODY_BYTES: Final = 512 * 1024
"""The longest changelog and template hashes, in whatever way their letters are escaped, and the rest."""

PIPELINE: Final = "release_key"
"""The name under which the audit and the rows know whoever has the release key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseServices:
    """What the endpoints work with."""

    gate: AccountGate
    release_keys: ListedSecrets
    acts: ReleaseActs
    store: Store


def releases_blueprint(services: ReleaseServices) -> Blueprint:
    """Serve registering to the release key alone, and the rest to administrators."""
    blueprint = Blueprint("releases", __name__)
    gate, acts = services.gate, services.acts
    answer_store_outage(blueprint)
    answer_row_errors(blueprint)
    _answer_refused_artefacts(blueprint)

    def require_pipeline() -> None:
        token = credential_of(request.headers.get("Authorization", ""), "").token
        try:
            require_release_key(token or None, services.release_keys)
        except ApiError:
            gate.limits.take("failed_bearer", client_ip())
            raise
        request_notes().account_id = PIPELINE

    @blueprint.post("/v1/releases")
    async def register() -> Response:
        require_pipeline()
        wish = await typed_body(ReleaseWish, limit_bytes=MAX_BODY_BYTES)
        if acts.artefacts is None:
            text = "No releases can be registered here: the operator has not set DARKBLOOM_RELEASE_CDN_URL."
            raise ApiError(503, "not_configured", text)
        registered = await acts.register(PIPELINE, wish)
        return private_answer({"status": "release_registered", "release": release_answer(registered)})

    @blueprint.get("/v1/admin/releases")
    async def releases() -> Response:
        require_admin(await gate.caller())
        found = await services.store.read(read_releases)
        return private_answer({"releases": [registered_answer(one) for one in found]})

    @blueprint.delete("/v1/admin/releases")
    async def deactivate() -> Response:
        return await switch(active=False)

    @blueprint.post("/v1/admin/releases/activate")
    async def activate() -> Response:
        return await switch(active=True)

    async def switch(*, active: bool) -> Response:
        admin = require_admin(await gate.caller())
        name = await typed_body(ReleaseName, limit_bytes=MAX_BODY_BYTES)
        changed = await acts.switch(actor_of(admin), name, active=active)
        status = "release_activated" if active else "release_deactivated"
        return private_answer({"status": status, "version": changed.version, "platform": changed.platform})

    return blueprint


def registered_answer(release: Release) -> dict[str, object]:
    """A release as operators see it: who registered it, and who switched it on again."""
    return {
        **release_answer(release),
        "registered_by": release.registered_by,
        "approved_by": release.approved_by,
    }


def _answer_refused_artefacts(blueprint: Blueprint) -> None:
    @blueprint.errorhandler(ArtefactRefused)
    async def refused(error: ArtefactRefused) -> Response:
        return refusal(invalid_request(str(error)))
