"""One update from the release row to the switched link; the daemon is drained and started again by the caller."""

import shutil
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
from provider.update.trial import RUNS, TryOut, try_here

LOCK_NAME: Final = "update.lock"


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
    try_out: TryOut = try_here,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Fetch, check and unpack a release beside the installed one; blocks. Raises `ReleaseRefused`.

    One of `keys` must have signed it, or, when there are none, one of those that the installed bundle pins; without
    either the hashes of the release are all that is checked. `try_out` runs the new program once.
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
        found = try_out(staging / ENTRY)
        if found != RUNS:
            raise ReleaseRefused(f"The program of {release.version} does not run here ({found}); it is not installed.")
        installation.adopt_staged(release.version)
        is_done = True
    except OSError as error:
        raise ReleaseRefused(f"The release {release.version} cannot be written ({error.strerror}).") from None
    finally:
        archive.unlink(missing_ok=True)
        if not is_done:
            shutil.rmtree(staging, ignore_errors=True)


def put_in_place(release: Release, installation: Installation, state: UpdateState) -> UpdateState:
    """Let the next start run a staged release; gives the state to write. Raises `ReleaseRefused`.

    Where it is in place already, the version to go back to stays what it was.
    """
    previous = installation.current
    if previous == release.version:
        return state
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
