"""The software identity key: one PKCS8 file, made once, readable by its owner only.

Invariant: the file appears under its name complete or not at all, and is never overwritten.
"""

import os
import stat
from pathlib import Path
from typing import Final

from protocol.identity import SoftwareSigner

KEY_FILE_NAME: Final = "identity.key"
_MAX_KEY_BYTES: Final = 16 * 1024


class KeyFileRefused(Exception):
    """The identity key cannot be used; the text names the file and the remedy."""


def load_or_create_signer(home: Path) -> SoftwareSigner:
    """Read the key below `home`, making directory (0700) and key (0600) on the first start; blocks on the disk.

    Two first starts at once end with the same key. Raises `KeyFileRefused` for a file that others may read, that
    belongs to another user, or that holds no key.
    """
    path = home / KEY_FILE_NAME
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = _read(path)
        if pem is None:
            _create(path)
            pem = _read(path)
    except OSError as error:
        raise KeyFileRefused(
            f"The identity key {path} cannot be read or made ({error.strerror}); check the directory's owner and mode."
        ) from None
    try:
        return SoftwareSigner.from_pem(pem or b"")
    except ValueError:
        raise KeyFileRefused(
            f"The file {path} holds no P-256 private key; restore it, or remove it to become a new machine."
        ) from None


def _read(path: Path) -> bytes | None:
    """Read the file through one descriptor, so that what was checked is what is read; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        mode = stat.S_IMODE(facts.st_mode)
        if not stat.S_ISREG(facts.st_mode):
            raise KeyFileRefused(f"The identity key {path} is not a regular file; remove it and start again.")
        if facts.st_uid != os.geteuid():
            raise KeyFileRefused(f"The identity key {path} belongs to another user; run `chown {os.geteuid()} {path}`.")
        if mode & 0o077:
            raise KeyFileRefused(f"The identity key {path} has mode {mode:04o}; run `chmod 600 {path}`.")
        return file.read(_MAX_KEY_BYTES)


def _create(path: Path) -> None:
    """Write a new key beside its place and link it there; whoever links first wins."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(SoftwareSigner.generate().to_pem())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        _sync_directory(path.parent)
    finally:
        fresh.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
