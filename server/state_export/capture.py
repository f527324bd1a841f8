"""Collecting the files: plain ones are copied, embedded databases become checked snapshots. Blocking; for a thread.

Invariant: what is written to the staging directory is either complete or an ExportFailed; nothing outside of it is
changed.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

MAX_FILES: Final = 10_000
MAX_TOTAL_BYTES: Final = 8 * 1024**3
TRIES: Final = 3
BUSY_SECONDS: Final = 10.0
COPY_BYTES: Final = 1024 * 1024
_SQLITE_MAGIC: Final = b"SQLite format 3\0"
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_SKIPPED_ENDINGS: Final = (".log", ".lock")


class ExportFailed(Exception):
    """The state cannot be exported; the text is for the operator's log and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One file or directory: its path in the archive, its permissions, and its copy (None for a directory)."""

    name: str
    mode: int
    modified: float
    copy: Path | None
    is_database: bool = False


def capture(root: Path, staging: Path, *, expected: Collection[str] = ()) -> list[Captured]:
    """Copy everything below `root` into `staging`, in the order of names.

    Symbolic links, sockets, devices, `*.log` and `*.lock` are left out, and so are the side files of databases, whose
    snapshots hold what is in them. `expected` names SQLite databases, relative to the root, without which the copy
    would be worthless. Raises ExportFailed.
    """
    try:
        found = _capture(root, staging)
    except OSError as error:
        raise ExportFailed(f"A file of the state cannot be read: {error.strerror}.") from None
    databases = {one.name for one in found if one.is_database}
    missing = sorted(set(expected) - databases)
    if missing:
        raise ExportFailed(f"The database {missing[0]} is expected below {root} and is not there.")
    if not any(one.copy is not None for one in found):
        raise ExportFailed(f"There is no file below {root} to export.")
    return found


def _capture(root: Path, staging: Path) -> list[Captured]:
    found: list[Captured] = []
    total = 0
    for path, status in _walk(root, avoiding=staging):
        name = path.relative_to(root).as_posix()
        if stat.S_ISDIR(status.st_mode):
            found.append(Captured(name=name, mode=status.st_mode, modified=status.st_mtime, copy=None))
        elif stat.S_ISREG(status.st_mode) and not _is_left_out(path):
            total += status.st_size
            copy = staging / f"{len(found):05d}"
            is_database = _is_sqlite(path)
            if total <= MAX_TOTAL_BYTES:
                try:
                    (_snapshot if is_database else _copy)(path, copy)
                except FileNotFoundError:
                    continue  # a temporary file that was renamed or removed meanwhile
            found.append(
                Captured(name=name, mode=status.st_mode, modified=status.st_mtime, copy=copy, is_database=is_database)
            )
        if len(found) > MAX_FILES or total > MAX_TOTAL_BYTES:
            raise ExportFailed(
                f"There is more below {root} than {MAX_FILES} files or 8 GiB; export a smaller directory."
            )
    return found


def _walk(root: Path, *, avoiding: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Give all entries below a directory by name, without following links."""
    for entry in sorted(os.scandir(root), key=lambda one: one.name):
        path = Path(entry.path)
        status = entry.stat(follow_symlinks=False)
        if path == avoiding:
            continue
        yield path, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(path, avoiding=avoiding)


def _is_left_out(path: Path) -> bool:
    if path.name.endswith(_SKIPPED_ENDINGS):
        return True
    for ending in _SIDE_FILES:
        base = path.name.removesuffix(ending)
        if base != path.name and _is_sqlite(path.with_name(base)):
            return True
    return False


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except OSError:
        return False


def _copy(source: Path, copy: Path) -> None:
    """Copy a plain file; one that changes meanwhile is copied again, a few times."""
    for _ in range(TRIES):
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as reader, copy.open("wb") as writer:
            before = os.fstat(reader.fileno())
            while block := reader.read(COPY_BYTES):
                writer.write(block)
            after = os.fstat(reader.fileno())
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return


def _snapshot(source: Path, copy: Path) -> None:
    """Copy a SQLite database as it is at one moment, while others write to it, and check the copy."""
    problem = ""
    for _ in range(TRIES):
        copy.unlink(missing_ok=True)
        try:
            _back_up(source, copy)
            problem = _check(copy)
        except sqlite3.Error as error:
            problem = type(error).__name__
        if not problem:
            return
    raise ExportFailed(f"The database {source.name} gives no sound snapshot ({problem}).")


def _back_up(source: Path, copy: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as reader,
        closing(sqlite3.connect(copy)) as writer,
    ):
        reader.backup(writer)
        # The copy stands alone: no write-ahead log beside it.
        writer.execute("PRAGMA journal_mode=DELETE").fetchall()


def _check(copy: Path) -> str:
    with closing(sqlite3.connect(f"file:{quote(str(copy))}?mode=ro", uri=True)) as reader:
        (answer,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if answer == "ok" else "integrity check failed"
