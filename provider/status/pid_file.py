"""The file `provider.pid`: which process is the daemon, told apart from a later one with the same number."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from provider.files import replace_file
from provider.status.process import is_running, process_start


class PidNote(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says."""

    pid: int
    process_start: str = ""


@contextmanager
def pid_file(path: Path) -> Iterator[None]:
    """Write the file for the length of the block."""
    note = PidNote(pid=os.getpid(), process_start=process_start(os.getpid()) or "")
    replace_file(path, msgspec.json.encode(note) + b"\n")
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()


def running_pid(path: Path) -> int | None:
    """Give the process id of the daemon that runs now; None without one."""
    try:
        note = msgspec.json.decode(path.read_bytes()[:1024], type=PidNote)
    except (OSError, ValueError):
        return None
    return note.pid if is_running(note.pid, note.process_start) else None
