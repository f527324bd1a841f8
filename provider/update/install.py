"""One update from the release row to the switched link; the daemon is drained and started again by the caller."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol.release_bundle import ENTRY
from provider.host.file_lock import FileLock, FileLocked
from provider.update.bundle import Progress, fetch_bundle, fetch_signature, unpack_bundle
from provider.update.mark import MARK, keys_of
from provider.update.place import Installation
from provider.update.release import Release, ReleaseRefused
from provider.update.signature import check_signature, check_version
from provider.update.state import UpdateState

LOCK_NAME: Final = "update.lock"
SMOKE_SECONDS: Final = 120.0


def take_update_lock(home: Path) -> FileLock:
    """Make sure that only one program updates; raises `ReleaseRefused`."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return FileLock.take(home / LOCK_NAME)
    except FileLocked as held:
        raise ReleaseRefused(f"Another update is under way ({held.holder}); wait for it.") from None


def stage(
    release: Release,
    installation: Installation,
    *,
    keys: Sequence[bytes],
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Fetch, check and unpack a release beside the installed one; blocks. Raises `ReleaseRefused`.

    One of `keys` must have signed it, or, when there are none, one of those that the installed bundle pins; without
    either the hashes of the release are all that is checked.
    """
    trusted = tuple(keys) or keys_of(installation.folder(installation.current))
    if trusted:
        check_signature(release, fetch_signature(release), trusted)
    staging = installation.staging
    archive = staging.with_name(staging.name + ".tar.gz")
    is_done = False
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        fetch_bundle(release, archive, progress=progress)
        unpack_bundle(archive, staging, release)
        if not (staging / MARK).is_file():
            raise ReleaseRefused(f"The bundle of {release.version} is no bundle of this program; it is not installed.")
        if trusted:
            check_version(release, staging)
        _try(staging / ENTRY, release)
        installation.adopt_staged(release.version)
        is_done = True
    except OSError as error:
        raise ReleaseRefused(f"The release {release.version} cannot be written ({error.strerror}).") from None
    finally:
        archive.unlink(missing_ok=True)
        if not is_done:
            shutil.rmtree(staging, ignore_errors=True)


def _try(entry: Path, release: Release) -> None:
    """Let the new program load what serving needs, before anything depends on it; raises `ReleaseRefused`."""
    try:
        status = subprocess.run(
            [str(entry), "runtime-smoke"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SMOKE_SECONDS,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseRefused(
            f"The program of {release.version} does not run here ({type(error).__name__}); it is not installed."
        ) from None
    if status != 0:
        raise ReleaseRefused(
            f"The program of {release.version} does not run here (status {status}); it is not installed."
        )


def put_in_place(release: Release, installation: Installation, state: UpdateState) -> UpdateState:
    """Let the next start run a staged release; gives the state to write. Raises `ReleaseRefused`."""
    previous = installation.current
    try:
        installation.point_to(release.version)
        installation.prune({release.version, previous})
    except OSError as error:
        raise ReleaseRefused(f"The new version cannot be put in place ({error.strerror}).") from None
    return state.began(release.version, previous)


def roll_back(installation: Installation, state: UpdateState) -> UpdateState:
    """Let the next start run the version before the one on trial; raises `ReleaseRefused`."""
    try:
        installation.point_to(state.previous)
    except OSError as error:
        raise ReleaseRefused(
            f"The version {state.previous or 'before this one'} cannot be taken again ({error.strerror})."
        ) from None
    return state.rolled_back()
