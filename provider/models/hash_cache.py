"""The file of weight hashes that were taken before, so that a restart does not read every weight again.

Invariant: an entry counts only for the very fingerprint it was taken at; the file is replaced whole. Any thread.
"""

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from protocol.weight_hash import integrity_files

FILE_NAME: Final = "hash-cache.json"
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
MAX_ENTRIES: Final = 256

Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]


class _Entry(msgspec.Struct, frozen=True):
    fingerprint: Fingerprint
    hash: str


class HashCache:
    """Hashes by resolved folder. A file that is damaged or cannot be written costs time, never correctness."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries = _read(path)

    def get(self, directory: Path, taken_at: Fingerprint) -> str:
        """Give the hash of a folder that has not changed since it was taken, or ""."""
        entry = self._entries.get(_key(directory))
        return entry.hash if entry is not None and entry.fingerprint == taken_at else ""

    def put(self, directory: Path, taken_at: Fingerprint, weight_hash: str) -> None:
        """Remember a hash; the oldest entries give way. Blocks on the disk."""
        with self._lock:
            self._entries.pop(_key(directory), None)
            self._entries[_key(directory)] = _Entry(taken_at, weight_hash)
            while len(self._entries) > MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
            _write(self._path, msgspec.json.encode(self._entries))


def fingerprint(directory: Path) -> Fingerprint:
    """Path, size and modification time of every integrity file, links followed; empty when one cannot be read."""
    try:
        facts = [(path, (directory / path).stat()) for path in integrity_files(directory)]
    except OSError:
        return ()
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in facts)


def _key(directory: Path) -> str:
    return str(directory.resolve())


def _read(path: Path) -> dict[str, _Entry]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        return msgspec.json.decode(content, type=dict[str, _Entry]) if len(content) <= MAX_FILE_BYTES else {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(fresh, path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
