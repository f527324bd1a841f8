"""Which snapshots are loaded somewhere on this machine, told by kernel locks that end with their process."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class SnapshotHold:
    """A shared lock on a snapshot's folder for as long as its model is loaded; a folder that is gone holds nothing."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = -1
        try:
            self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            self.release()

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


def is_in_use(directory: Path) -> bool:
    """Whether a process, this one included, has loaded the snapshot; one that is not there is not in use."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
