"""One update from the release row to the switched link; the daemon is drained and started again by the caller."""

import shutil
from pathlib import Path
from typing import Final

from provider.host.file_lock import FileLock, FileLocked
from provider.update.bundle import Progress, fetch_bundle, unpack_bundle
from provider.update.place import MARK, Installation
from provider.update.release import Release, ReleaseRefused
from provider.update.state import UpdateState

LOCK_NAME: Final = "update.lock"


def take_update_lock(home: Path) -> FileLock:
    """Make sure that only one program updates; raises `ReleaseRefused`."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return FileLock.take(home / LOCK_NAME)
    except FileLocked as held:
        raise ReleaseRefused(f"Another update is under way ({held.holder}); wait for it.") from None


def stage(release: Release, installation: Installation, *, progress: Progress = lambda _done, _total: None) -> None:
    """Fetch, check and unpack a release beside the installed one; blocks. Raises `ReleaseRefused`."""
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
        installation.adopt_staged(release.version)
        is_done = True
    except OSError as error:
        raise ReleaseRefused(f"The release {release.version} cannot be written ({error.strerror}).") from None
    finally:
        archive.unlink(missing_ok=True)
        if not is_done:
            shutil.rmtree(staging, ignore_errors=True)


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
