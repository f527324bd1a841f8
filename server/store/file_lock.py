"""The lock file beside a SQLite database: one program at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from server.store.errors_at_start import StoreCannotOpen


def lock_path(database: Path) -> Path:
    """Return the path of the lock file of a database."""
    return database.with_name(database.name + ".lock")


@contextmanager
def exclusive_file(database: Path) -> Generator[None, None, None]:
    """Hold the database for this process; the lock ends with the process, however it ends.

    The file itself stays: removing it would let two processes lock two files of the same name.
    """
    path = lock_path(database)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreCannotOpen(
            f"The lock file {path} cannot be opened ({error.strerror}); create its folder and make it writable."
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreCannotOpen(
                f"database is in use by another coordinator: {path} is locked. Stop the other process first; a SQLite "
                "file serves one coordinator."
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def lock_holder(database: Path) -> int | None:
    """Return the process id of the coordinator that holds the database, 0 if it is not written down; None if free."""
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        written = os.read(descriptor, 32).strip()
        return int(written) if written.isdigit() else 0
    finally:
        os.close(descriptor)
    return None
