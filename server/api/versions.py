"""`/api/version`, `/v1/releases/latest` and `/v1/runtime/manifest`: which programs there are, and which may serve."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from quart import Blueprint, request

from protocol.api.errors import ApiError, invalid_request
from server.api.gate import answer_store_outage
from server.api.json_answer import timestamp
from server.api.public_answer import public_answer
from server.catalog.release_rows import DEFAULT_PLATFORM, latest_release

if TYPE_CHECKING:
    from quart.wrappers import Response

    from server.catalog.release_rows import Release
    from server.store import Store
    from server.trust import RuntimeManifest

FRESH_SECONDS: Final = 60
CHANNELS: Final = ("stable", "dev")
_PLATFORM: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionServices:
    """`version` is that of this coordinator; `manifest` gives the hashes that a provider's runtime must have."""

    store: Store
    version: str
    manifest: Callable[[], RuntimeManifest]


def versions_blueprint(services: VersionServices) -> Blueprint:
    """Serve all three to anybody."""
    blueprint = Blueprint("versions", __name__)
    answer_store_outage(blueprint)

    async def latest() -> Release | None:
        platform, channel = request.args.get("platform") or DEFAULT_PLATFORM, request.args.get("channel") or "stable"
        if _PLATFORM.fullmatch(platform) is None:
            raise invalid_request("platform must be 1 to 64 of a-z 0-9 . _ and -.", param="platform")
        if channel not in CHANNELS:
            raise invalid_request(f"channel must be one of {', '.join(CHANNELS)}.", param="channel")
        return await services.store.read(lambda tx: latest_release(tx, platform, pre_releases=channel == "dev"))

    @blueprint.get("/api/version")
    async def version() -> Response:
        found = await latest()
        if found is None:
            return public_answer({"version": services.version, "download_url": ""}, seconds=FRESH_SECONDS)
        shown = {
            "version": found.version,
            "platform": found.platform,
            "backend": found.backend,
            "download_url": found.url,
            "binary_hash": found.binary_hash,
            "bundle_hash": found.bundle_hash,
            "metallib_hash": found.metallib_hash,
            "changelog": found.changelog,
        }
        return public_answer(shown, seconds=FRESH_SECONDS)

    @blueprint.get("/v1/releases/latest")
    async def release() -> Response:
        found = await latest()
        if found is None:
            raise ApiError(404, "not_found", "There is no active release for this platform.")
        return public_answer(release_answer(found), seconds=FRESH_SECONDS)

    @blueprint.get("/v1/runtime/manifest")
    async def manifest() -> Response:
        return public_answer(manifest_answer(services.manifest()), seconds=FRESH_SECONDS)

    return blueprint


def release_answer(release: Release) -> dict[str, object]:
    """A release as everybody sees it; what is empty is left out."""
    optional = {
        "backend": release.backend,
        "metallib_hash": release.metallib_hash,
        "python_hash": release.python_hash,
        "runtime_hash": release.runtime_hash,
        "template_hashes": release.template_hashes,
        "signature": release.signature,
    }
    return {
        "version": release.version,
        "platform": release.platform,
        "binary_hash": release.binary_hash,
        "bundle_hash": release.bundle_hash,
        "url": release.url,
        "changelog": release.changelog,
        "active": release.active,
        "created_at": timestamp(release.created_at),
        **{name: value for name, value in optional.items() if value},
    }


def manifest_answer(manifest: RuntimeManifest) -> dict[str, object]:
    """The accepted hashes; `configured` is False when nothing is compared."""
    if not (manifest.python_hashes or manifest.runtime_hashes or manifest.template_hashes):
        return {"configured": False}
    return {
        "configured": True,
        "python_hashes": sorted(manifest.python_hashes),
        "runtime_hashes": sorted(manifest.runtime_hashes),
        "template_hashes": {name: sorted(hashes) for name, hashes in sorted(manifest.template_hashes.items())},
    }
