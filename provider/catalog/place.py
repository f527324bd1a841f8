"""Putting a complete download into the cache, and taking models out again.

Invariant: a snapshot appears under its name complete; `refs/main` names it only after that. All functions block.
"""

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from protocol.weight_hash import FileDigest, combine, integrity_files
from provider.catalog.failures import DownloadBusy, DownloadFailed
from provider.catalog.staging import Staging, sync_tree
from provider.host.file_lock import FileLock, FileLocked
from provider.models.hub import ID_FILE, HubCache, ModelFolder
from provider.models.in_use import is_in_use

REVISION_PREFIX: Final = "rev-"
REVISION_DIGITS: Final = 16
DISCARDED_PREFIX: Final = ".discarded-"
LOCK_NAME: Final = ".download.lock"


def revision_of(aggregate: str) -> str:
    """Name the snapshot of a build by its weight hash."""
    return f"{REVISION_PREFIX}{aggregate[:REVISION_DIGITS]}"


def lock_model(folder: ModelFolder) -> FileLock:
    """Make the model's folder if needed and be the only one who changes it.

    Raises `DownloadBusy`, or `DownloadFailed` when the folder cannot be made.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        return FileLock.take(folder.path / LOCK_NAME)
    except FileLocked as found:
        raise DownloadBusy(
            f"The model {folder.model_id} is already being downloaded or removed by {found.holder}; wait for it."
        ) from None
    except OSError as error:
        raise DownloadFailed(f"{folder.path} cannot be used ({error.strerror}); check its owner and mode.") from None


def staged_hash(staging: Staging) -> str | None:
    """The weight hash of what lies in the staging folder now, from the hashes that its files were verified by."""
    verified = {file.file.path: file.file for file in staging.files if file.is_verified}
    found = integrity_files(staging.directory)
    if any(path not in verified for path in found):
        return None
    return combine(FileDigest(path, bytes.fromhex(verified[path].sha256), verified[path].size_bytes) for path in found)


def publish(folder: ModelFolder, staging: Staging, aggregate: str) -> Path:
    """Move a verified staging folder to its snapshot and make it the current one; older ones of ours are removed.

    Raises `OSError`.
    """
    target = folder.snapshots / revision_of(aggregate)
    sync_tree(staging.directory, (file.path for file in staging.files))
    if target.exists():
        discard(target)
    os.rename(staging.directory, target)
    sync_tree(folder.snapshots, ())
    _write_whole(folder.path / ID_FILE, folder.model_id)
    folder.ref.parent.mkdir(exist_ok=True)
    _write_whole(folder.ref, target.name)
    remove_old_snapshots(folder, keep=target)
    return target


def remove_old_snapshots(folder: ModelFolder, *, keep: Path) -> None:
    """Remove the other snapshots that were made here and are not loaded anywhere, and leftovers."""
    for path in sorted(folder.snapshots.iterdir()):
        if path.name.startswith(DISCARDED_PREFIX):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(REVISION_PREFIX) and path != keep and not is_in_use(path):
            discard(path)


def remove_model(cache: HubCache, model_id: str) -> int:
    """Remove a model from the cache and give the freed bytes.

    Raises `DownloadBusy` while it is being changed, and `DownloadFailed` when it is not there, lies outside of the
    cache, is loaded somewhere, or cannot be removed.
    """
    try:
        folder = cache.folder(model_id)
    except ValueError as error:
        raise DownloadFailed(str(error)) from None
    if not folder.path.is_dir():
        raise DownloadFailed(f"The model {model_id} is not on this machine; `darkbloom models list` shows what is.")
    if folder.path.is_symlink() or folder.path.resolve().parent != cache.root.resolve():
        raise DownloadFailed(f"{folder.path} leads out of the model cache; remove it by hand.")
    with lock_model(folder):
        try:
            if any(is_in_use(path) for path in _snapshots(folder)):
                raise DownloadFailed(f"The model {model_id} is loaded; unload it first, or use --force.")
            freed = tree_bytes(folder.path)
            gone = folder.path.with_name(f"{DISCARDED_PREFIX}{secrets.token_hex(4)}")
            os.rename(folder.path, gone)
            shutil.rmtree(gone)
        except OSError as error:
            raise DownloadFailed(
                f"{folder.path} cannot be removed ({error.strerror}); check its owner and mode."
            ) from None
    return freed


def discard(path: Path) -> None:
    """Take a folder out of sight at once, then delete it."""
    gone = path.with_name(f"{DISCARDED_PREFIX}{secrets.token_hex(4)}")
    os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def tree_bytes(folder: Path) -> int:
    """Sum the sizes of all files below a folder; links count as themselves."""
    return sum((Path(parent) / name).lstat().st_size for parent, _folders, names in os.walk(folder) for name in names)


def _snapshots(folder: ModelFolder) -> list[Path]:
    return list(folder.snapshots.iterdir()) if folder.snapshots.is_dir() else []


def _write_whole(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    sync_tree(path.parent, ())
