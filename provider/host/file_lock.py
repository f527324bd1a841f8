"""A kernel lock on a file that names its holder: it ends with the process, however that ends."""

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_MAX_NOTE_BYTES: Final = 4096


class FileLocked(Exception):
    """Another process holds the lock; `pid` is its process id as far as it can be told."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.pid: Final = pid
        self.holder: Final = "another process" if pid is None else f"process {pid}"
        super().__init__(f"{self.holder} holds {path}")


class FileLock:
    """Taken by `take`, held for the length of a `with` block. The file stays: only its lock means anything."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self:
        """Lock the file and note who did; raises `FileLocked`, or `OSError` when it cannot be made."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _noted_pid(descriptor)
            os.close(descriptor)
            raise FileLocked(path, pid) from None
        except OSError:
            os.close(descriptor)
            raise
        note = json.dumps({"pid": os.getpid(), "started_at": int(time.time())}).encode() + b"\n"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note, 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let go; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _noted_pid(descriptor: int) -> int | None:
    try:
        note = json.loads(os.pread(descriptor, _MAX_NOTE_BYTES, 0))
    except ValueError:
        return None
    pid = note.get("pid") if isinstance(note, dict) else None
    return pid if isinstance(pid, int) else None
