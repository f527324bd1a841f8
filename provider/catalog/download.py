"""Bringing a model onto this machine: look, check the disk, fetch, verify, put in place.

Invariant: the cache never shows a model that is not complete and verified; an earlier one stays until then.
Source: provider rules, download algorithm.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom

import httpx
import trio

from protocol.manifest import Manifest
from protocol.weight_hash import weight_hash
from provider.catalog.client import file_url
from provider.catalog.failures import DownloadFailed
from provider.catalog.limits import DownloadLimits
from provider.catalog.place import lock_model, publish, revision_of, staged_hash
from provider.catalog.progress import Listener, ProgressMeter
from provider.catalog.staging import FULL_DISK, StagedFile, Staging
from provider.catalog.transfer import FileTransfer, Pace, first_failure
from provider.memory.policy import GIB
from provider.models.hub import HubCache, ModelFolder, SnapshotInvalid


@dataclass(frozen=True, slots=True)
class Downloaded:
    """Where the model is now; `fetched_bytes` 0 means that it was there, or had only to be put in place."""

    directory: Path
    fetched_bytes: int


def free_bytes(path: Path) -> int:
    """Space that is free for this user on the disk of a folder."""
    return shutil.disk_usage(path).free


async def no_pace() -> None:
    """Do not hold anything up."""


class Download:
    """One download of one manifest. `run` is called once."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        cache: HubCache,
        manifest: Manifest,
        cdn: str,
        *,
        limits: DownloadLimits | None = None,
        listener: Listener = lambda _progress: None,
        pace: Pace = no_pace,
        free: Callable[[Path], int] = free_bytes,
        random: Random | None = None,
    ) -> None:
        self._client = client
        self._manifest = manifest
        self._cdn = cdn
        self._folder = cache.folder(manifest.model_id)
        self._limits = limits or DownloadLimits()
        self._pace = pace
        self._free = free
        self._random = random or SystemRandom()
        self._disk = trio.CapacityLimiter(self._limits.files_at_once)
        self._meter = ProgressMeter(manifest.total_size_bytes, listener)
        self._fetched = 0

    async def run(self) -> Downloaded:
        """Download, or go on where an earlier run stopped. Raises `DownloadFailed`.

        Cancelling it keeps what has arrived, as a failure that may pass does; a second process is refused meanwhile.
        """
        lock = await trio.to_thread.run_sync(lock_model, self._folder)
        with lock:
            try:
                return await self._run_locked()
            except OSError as error:
                if error.errno in FULL_DISK:
                    raise DownloadFailed("The disk is full; free some space and run the same command.") from None
                raise DownloadFailed(
                    f"{error.filename or self._folder.path} cannot be written ({error.strerror}); check the folder."
                ) from None

    async def _run_locked(self) -> Downloaded:
        manifest = self._manifest
        if (installed := await trio.to_thread.run_sync(find_installed, self._folder, manifest)) is not None:
            self._meter.began(manifest.total_size_bytes)
            return Downloaded(installed, 0)
        staging = Staging(self._folder.snapshots, manifest, self._limits)
        await trio.to_thread.run_sync(staging.prepare)
        try:
            self._meter.began(sum(file.done for file in staging.files))
            self._check_space(staging)
            await self._fetch(staging)
            if await trio.to_thread.run_sync(staged_hash, staging) != manifest.aggregate_sha256:
                staging.discard()
                raise DownloadFailed(
                    f"The manifest of {manifest.model_id} is inconsistent: its files do not give its weight hash. "
                    "Tell the model's publisher."
                )
            with trio.CancelScope(shield=True):
                placed = await trio.to_thread.run_sync(publish, self._folder, staging, manifest.aggregate_sha256)
        except BaseException:
            staging.leave()
            raise
        return Downloaded(placed, self._fetched)

    def _check_space(self, staging: Staging) -> None:
        needed = staging.remaining + (self._limits.keep_free if staging.remaining else 0)
        free = self._free(staging.directory)
        if needed > free:
            raise DownloadFailed(
                f"{self._manifest.model_id} needs {needed / GIB:.1f} GiB more, and {free / GIB:.1f} GiB are free on "
                f"the disk of {self._folder.path}; free some space."
            )

    async def _fetch(self, staging: Staging) -> None:
        limiter = trio.CapacityLimiter(self._limits.files_at_once)
        try:
            async with trio.open_nursery() as nursery:
                for file in staging.files:
                    if not file.is_verified:
                        await limiter.acquire_on_behalf_of(file)
                        nursery.start_soon(self._fetch_file, file, limiter)
        except BaseExceptionGroup as group:
            raise first_failure(group, OSError) from None

    async def _fetch_file(self, staged: StagedFile, limiter: trio.CapacityLimiter) -> None:
        path, size = staged.file.path, staged.file.size_bytes

        def count(change: int) -> None:
            self._fetched += max(0, change)
            self._meter.moved(path, staged.done, size, change)

        try:
            transfer = FileTransfer(
                self._client,
                file_url(self._cdn, self._manifest.r2_prefix, path),
                staged,
                self._limits,
                on_bytes=count,
                pace=self._pace,
                disk=self._disk,
                random=self._random,
            )
            await transfer.run()
            self._meter.verified(path, size)
        finally:
            limiter.release_on_behalf_of(staged)


def find_installed(folder: ModelFolder, manifest: Manifest) -> Path | None:
    """The snapshot of this very build, if it is the current one and its files are still right; reads all of them."""
    try:
        current = folder.current()
    except SnapshotInvalid:
        return None
    if current.name != revision_of(manifest.aggregate_sha256):
        return None
    return current if weight_hash(current) == manifest.aggregate_sha256 else None
