"""The files of a published version where clients will download them: manifest fetched, every file looked at."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import httpx
import trio

from protocol.authorities import trusted_authorities
from protocol.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
from server.catalog.refused import NotPublished

FETCH_SECONDS: Final = 30.0
CHECK_SECONDS: Final = 120.0
PARALLEL: Final = 8


class PublishedFiles:
    """Reads below one base URL; redirects are not followed, every reading is bounded."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")

    async def manifest(self, prefix: str) -> bytes:
        """Fetch the manifest of a prefix; raises NotPublished."""
        url = f"{self._base}/{prefix}/{MANIFEST_NAME}"
        content = bytearray()
        try:
            with trio.fail_after(FETCH_SECONDS):
                async with _client() as client, client.stream("GET", url) as answer:
                    if answer.status_code != 200:
                        raise NotPublished(_text(f"{prefix}/{MANIFEST_NAME}", f"answers {answer.status_code}"))
                    # Read to its end or to the deadline, whatever its length: a stream that is left half-way is
                    # never closed by the library below.
                    async for part in answer.aiter_bytes():
                        if len(content) <= MAX_MANIFEST_BYTES:
                            content += part
        except (httpx.HTTPError, trio.TooSlowError):
            raise NotPublished(_text(f"{prefix}/{MANIFEST_NAME}", "cannot be fetched")) from None
        if len(content) > MAX_MANIFEST_BYTES:
            raise NotPublished(_text(f"{prefix}/{MANIFEST_NAME}", "is larger than 1 MiB"))
        return bytes(content)

    async def check(self, manifest: Manifest) -> None:
        """Look whether every file is there with its size, eight at a time; raises NotPublished for one that is not."""
        slots = trio.CapacityLimiter(PARALLEL)
        wrong: list[str] = []

        async def look(client: httpx.AsyncClient, path: str, size: int) -> None:
            async with slots:
                if not wrong:
                    found = await _size(client, f"{self._base}/{manifest.r2_prefix}/{quote(path)}")
                    if found != size:
                        wrong.append(_text(path, f"does not answer HEAD with {size} bytes"))

        with trio.move_on_after(CHECK_SECONDS) as scope:
            async with _client() as client, trio.open_nursery() as nursery:
                for file in manifest.files:
                    nursery.start_soon(look, client, file.path, file.size_bytes)
        if scope.cancelled_caught:
            raise NotPublished("The download server took too long to answer for all files; try again.")
        if wrong:
            raise NotPublished(wrong[0])


async def _size(client: httpx.AsyncClient, url: str) -> int | None:
    try:
        answer = await client.head(url)
    except httpx.HTTPError:
        return None
    length = answer.headers.get("content-length", "")
    return int(length) if answer.status_code == 200 and length.isascii() and length.isdigit() else None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=FETCH_SECONDS,
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        verify=trusted_authorities(),
    )


def _text(path: str, problem: str) -> str:
    return f"{path[:200]} {problem} at the download server; upload all files first, then the manifest."
