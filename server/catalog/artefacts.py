"""The bundle of a release where machines will download it: fetched whole, its hash compared, its files looked at.

Invariant: nothing of a bundle is opened before its hash was right, and nothing of it is ever unpacked to the disk.
Source: trust rules, registering a release.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Final, cast

import httpx
import trio
import trio.from_thread
import trio.to_thread

from protocol.authorities import trusted_authorities
from protocol.release_archive import ArchiveRefused, ReleaseArchive, open_archive
from protocol.release_bundle import ENTRY, MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, bundle_name
from server.catalog.refused import ArtefactRefused

if TYPE_CHECKING:
    from server.catalog.release_rows import Release

CHECK_SECONDS: Final = 120.0
"""For the download and the look at the files together."""

AT_ONCE: Final = 2
CONNECT_SECONDS: Final = 30.0
_PIECE: Final = 1024 * 1024


class Artefacts:
    """Bundles below one base URL; redirects are not followed, every reading is bounded."""

    def __init__(self, base_url: str, *, check_seconds: float = CHECK_SECONDS) -> None:
        self._base = base_url.rstrip("/")
        self._seconds = check_seconds
        self._slots = trio.CapacityLimiter(AT_ONCE)

    def places(self, release: Release) -> tuple[str, str]:
        """Where the bundle of a release may lie: under its version, or under its hash below that."""
        folder, name = f"{self._base}/releases/v{release.version}", bundle_name(release.platform)
        return f"{folder}/{name}", f"{folder}/artifacts/{release.bundle_hash}/{name}"

    async def check(self, release: Release) -> None:
        """Fetch the bundle and compare both hashes; raises ArtefactRefused. At most two are looked at, others wait."""
        if release.url not in self.places(release):
            raise ArtefactRefused(f"url must be {self.places(release)[0]}, which is where machines look.")
        with trio.move_on_after(self._seconds) as scope:
            async with self._slots:
                with tempfile.TemporaryFile() as file:
                    if await _fetch(release.url, file) != release.bundle_hash:
                        raise _failed("the bundle at the download server does not have this bundle_hash")
                    # The thread is awaited even when the caller leaves: it looks up all the time.
                    found = await trio.to_thread.run_sync(entry_hash, file, trio.from_thread.check_cancelled)
            if found != release.binary_hash:
                raise _failed(f"{ENTRY} in the bundle does not have this binary_hash")
        if scope.cancelled_caught:
            raise _failed(f"it took more than {self._seconds:g} seconds; try again")


async def _fetch(url: str, file: IO[bytes]) -> str:
    """Write what lies at a URL to a file, and give its SHA-256; raises ArtefactRefused."""
    digest, done = hashlib.sha256(), 0
    # In a thread: to read the system's certificates takes tens of milliseconds.
    authorities = await trio.to_thread.run_sync(trusted_authorities)
    try:
        async with (
            httpx.AsyncClient(
                timeout=CONNECT_SECONDS,
                follow_redirects=False,
                headers={"Accept-Encoding": "identity"},
                verify=authorities,
            ) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != 200:
                raise _failed(f"the download server answers {answer.status_code}; upload the bundle first")
            async for piece in answer.aiter_raw(_PIECE):
                done += len(piece)
                if done > MAX_BUNDLE_BYTES:
                    raise _failed("the bundle is larger than 2 GiB")
                digest.update(piece)
                await trio.to_thread.run_sync(file.write, piece)
    except httpx.HTTPError as error:
        raise _failed(f"the bundle cannot be fetched ({type(error).__name__})") from None
    return digest.hexdigest()


def entry_hash(file: IO[bytes], look_up: Callable[[], None] = lambda: None) -> str:
    """Give the SHA-256 of the program in an archive; blocks. Raises ArtefactRefused for an archive against the rules.

    `look_up` is called before each reading of the archive (up to 128 KiB), and raises when the caller has left.
    """
    file.seek(0)
    try:
        with open_archive(cast("IO[bytes]", _Watched(file, look_up))) as archive:
            return _walked(archive)
    except ArchiveRefused as refused:
        raise _failed(f"the bundle {refused}") from None
    except OSError as error:
        raise _failed(f"the bundle cannot be read ({type(error).__name__})") from None


def _walked(archive: ReleaseArchive) -> str:
    found = ""
    for member in archive:
        if PurePosixPath(member.name) != PurePosixPath(ENTRY):
            continue
        if found or not member.isreg() or member.size > MAX_ENTRY_BYTES:
            raise ArchiveRefused(f"must hold one ordinary file {ENTRY} of at most 512 MiB")
        content = archive.tar.extractfile(member)
        assert content is not None, "an ordinary file has content"
        digest = hashlib.sha256()
        while piece := content.read(_PIECE):
            digest.update(piece)
        found = digest.hexdigest()
    if not found:
        raise ArchiveRefused(f"holds no {ENTRY}")
    return found


class _Watched:
    """A file whose every reading begins with a look at the caller: it ends the walk wherever the archive is slow."""

    def __init__(self, file: IO[bytes], look_up: Callable[[], None]) -> None:
        self._file = file
        self._look_up = look_up

    def read(self, size: int = -1) -> bytes:
        """See IO."""
        self._look_up()
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """See IO."""
        return self._file.seek(offset, whence)


def _failed(what: str) -> ArtefactRefused:
    return ArtefactRefused(f"release artifact verification failed: {what}.")
