"""The layout of a model cache: one folder per model, snapshots below it, and `refs/main` naming the current one.

It is the layout of the Hugging Face hub, so that models which other programs downloaded are found too.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER_PREFIX: Final = "models--"
SNAPSHOTS: Final = "snapshots"
REFS: Final = "refs"
MAIN: Final = "main"
ID_FILE: Final = "model-id"
"""Beside `snapshots`: the exact id, because the folder's name cannot tell `--` from `/`."""

STAGING_PREFIX: Final = ".staging-"
"""Hidden folders below `snapshots/` in which a download comes together."""

MAX_REF_BYTES: Final = 1024 * 1024
MAX_ID_BYTES: Final = 1024


class SnapshotInvalid(Exception):
    """A model folder has no usable snapshot; the text says why."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model's folder in a cache."""

    model_id: str
    path: Path

    @property
    def snapshots(self) -> Path:
        """Where its snapshots are."""
        return self.path / SNAPSHOTS

    @property
    def ref(self) -> Path:
        """The file that names the current snapshot."""
        return self.path / REFS / MAIN

    def current(self) -> Path:
        """Find the current snapshot: the one that `refs/main` names, else the newest.

        A reference that is there but wrong makes the model invalid: it is never guessed around. Raises
        `SnapshotInvalid`.
        """
        try:
            name = _read_ref(self.ref)
            if name is None:
                return self._newest()
        except OSError as error:
            raise SnapshotInvalid(f"its folder cannot be read ({error.strerror})") from None
        snapshot = self.snapshots / name
        if not snapshot.is_dir():
            raise SnapshotInvalid("refs/main names a snapshot that is not there")
        return snapshot

    def _newest(self) -> Path:
        found: list[tuple[int, str]] = []
        is_arriving = False
        try:
            with os.scandir(self.snapshots) as entries:
                for entry in entries:
                    is_arriving = is_arriving or entry.name.startswith(STAGING_PREFIX)
                    if not entry.name.startswith(".") and entry.is_dir():
                        found.append((entry.stat().st_mtime_ns, entry.name))
        except (FileNotFoundError, NotADirectoryError):
            pass
        if not found:
            raise SnapshotInvalid("its download is not finished" if is_arriving else "it has no snapshot")
        return self.snapshots / max(found)[1]


class HubCache:
    """All models below one root; every method blocks on the disk. A root that is not there holds no models."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root

    def folder(self, model_id: str) -> ModelFolder:
        """Give the place of a model, present or not; raises `ValueError` for an id that leads elsewhere."""
        name = folder_name(model_id)
        return ModelFolder(model_id, self.root / name)

    def folders(self) -> Iterator[ModelFolder]:
        """Find all model folders, by name; hidden ones are work in progress."""
        try:
            with os.scandir(self.root) as entries:
                names = sorted(entry.name for entry in entries if entry.name.startswith(FOLDER_PREFIX))
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            path = self.root / name
            yield ModelFolder(_stated_id(path) or model_id_of(name), path)


def folder_name(model_id: str) -> str:
    """Give the folder's name for a model id; raises `ValueError` for an id that is no plain relative name."""
    parts = model_id.split("/")
    if not model_id.isprintable() or "\\" in model_id or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{model_id[:100]!r} is no model id; write it as ORGANISATION/NAME.")
    return FOLDER_PREFIX + "--".join(parts)


def model_id_of(name: str) -> str:
    """Read the id from a folder's name; an id with `--` in it comes back with `/` there."""
    return name.removeprefix(FOLDER_PREFIX).replace("--", "/")


def _stated_id(path: Path) -> str:
    """Read the id beside the snapshots; it counts only if it belongs to this very folder."""
    try:
        with (path / ID_FILE).open("rb") as file:
            text = file.read(MAX_ID_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    try:
        return text if folder_name(text) == path.name else ""
    except ValueError:
        return ""


def _read_ref(path: Path) -> str | None:
    """Read `refs/main`; None if there is none. Raises `SnapshotInvalid` for one that cannot be meant."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise SnapshotInvalid("refs/main is a link to nothing") from None
        return None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise SnapshotInvalid("refs/main is not a regular file")
        if facts.st_size > MAX_REF_BYTES:
            raise SnapshotInvalid("refs/main is too large")
        content = os.read(descriptor, MAX_REF_BYTES)
    finally:
        os.close(descriptor)
    try:
        name = content.decode().strip()
    except UnicodeDecodeError:
        name = ""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
        raise SnapshotInvalid("refs/main names no snapshot")
    return name
