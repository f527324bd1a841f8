"""A process that downloads one model, to be killed: `python -m tests.testbed.download_child MANIFEST CDN CACHE`."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from protocol.manifest import parse_manifest
from provider.catalog.download import Download
from provider.catalog.http import open_http
from provider.catalog.limits import DownloadLimits
from provider.models.hub import HubCache

LIMITS = DownloadLimits(
    files_at_once=2,
    pieces_at_once=2,
    split_above=2**20,
    piece_bytes=2**21,
    write_bytes=2**15,
    note_bytes=2**15,
    keep_free=0,
)


async def main(manifest: Path, cdn: str, cache: Path) -> None:
    """Download and print where the model is."""
    async with open_http() as client:
        parsed = parse_manifest(manifest.read_bytes())
        downloaded = await Download(client, HubCache(cache), parsed, cdn, limits=LIMITS).run()
    print(downloaded.directory, downloaded.fetched_bytes)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
