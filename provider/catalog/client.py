"""Reading a coordinator's catalogue and the manifests of its models."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self
from urllib.parse import quote, urlencode

import httpx
import msgspec

from protocol.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestRefused, parse_manifest
from provider.account.door import fit_for_terminal
from provider.catalog.entries import CatalogEntry, Catalogue
from provider.catalog.failures import CatalogFailed
from provider.catalog.http import fetch_document, open_http, send_document

MAX_CATALOGUE_BYTES: Final = 8 * 1024 * 1024


class CatalogClient:
    """Asks one coordinator, whose base address has no slash at its end. All methods raise `CatalogFailed`."""

    def __init__(self, http: httpx.AsyncClient, base: str) -> None:
        self.http: Final = http
        self._base = base

    @classmethod
    @asynccontextmanager
    async def open(cls, base: str) -> AsyncIterator[Self]:
        """Keep connections for the length of the block."""
        async with open_http() as http:
            yield cls(http, base)

    async def catalogue(self, model_type: str = "text") -> Catalogue:
        """Read all entries of one type."""
        document = await fetch_document(
            self.http,
            f"{self._base}/v1/models/catalog?{urlencode({'type': model_type})}",
            max_bytes=MAX_CATALOGUE_BYTES,
        )
        if document.status != 200:
            raise CatalogFailed(f"The coordinator {self._base} answered {document.status} instead of its catalogue.")
        try:
            return msgspec.json.decode(document.content, type=Catalogue)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise CatalogFailed(f"The catalogue of {self._base} cannot be read; is it a coordinator?") from None

    async def manifest(self, entry: CatalogEntry, *, cdn: str = "") -> Manifest:
        """Get the checked manifest of an entry: from the coordinator, else from the download server `cdn`."""
        if not entry.has_manifest:
            raise CatalogFailed(
                f"The catalogue has no verified manifest for {entry.id}; only its publisher can change that."
            )
        document = await fetch_document(
            self.http, f"{self._base}/v1/models/catalog/manifest/{quote(entry.id)}", max_bytes=MAX_MANIFEST_BYTES
        )
        if document.status == 404 and cdn:
            document = await fetch_document(
                self.http, f"{file_url(cdn, entry.r2_prefix, 'manifest.json')}", max_bytes=MAX_MANIFEST_BYTES
            )
        if document.status != 200:
            raise CatalogFailed(f"The manifest of {entry.id} is not to be had (status {document.status}).")
        try:
            return parse_manifest(
                document.content, model_id=entry.id, r2_prefix=entry.r2_prefix, aggregate=entry.aggregate_sha256
            )
        except ManifestRefused as refused:
            raise CatalogFailed(f"{entry.id} cannot be downloaded. {refused}") from None

    async def register(self, manifest: Manifest, key: str, metadata: Mapping[str, object]) -> dict[str, object]:
        """Tell the coordinator of a build; `metadata` are further members of the entry. Gives the entry."""
        body = {
            **metadata,
            "model_id": manifest.model_id,
            "version": manifest.version,
            "r2_prefix": manifest.r2_prefix,
            "manifest": msgspec.to_builtins(manifest),
        }
        document = await send_document(
            self.http, f"{self._base}/v1/admin/models/register", body, key=key, max_bytes=MAX_CATALOGUE_BYTES
        )
        try:
            answer: object = msgspec.json.decode(document.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        members = answer if isinstance(answer, dict) else {}
        if document.status == 200:
            return members
        error = members.get("error")
        text = error.get("message") if isinstance(error, dict) else None
        said = fit_for_terminal(text) if isinstance(text, str) else ""
        raise CatalogFailed(f"The coordinator did not register it ({document.status}). {said}".rstrip())


def file_url(cdn: str, prefix: str, path: str) -> str:
    """Give the address of one file of a build on the download server."""
    return f"{cdn.rstrip('/')}/{quote(prefix)}/{quote(path)}"
