"""Files of `darkbloom dev`: its API key, which survives restarts, and the logs of its processes."""

import os
import re
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from provider.cli.exits import CommandFailed
from provider.host.file_lock import FileLock, FileLocked

KEY_PREFIX: Final = "sk-db-"
KEY_HEX_DIGITS: Final = 64
KEY_FORM: Final = re.compile(rf"{KEY_PREFIX}[0-9a-f]{{{KEY_HEX_DIGITS}}}")
MAX_KEY_BYTES: Final = 1024
LOCK_FILE_NAME: Final = "dev.lock"


@dataclass(frozen=True, slots=True)
class DevHome:
    """The data directory, private to the user."""

    path: Path

    @classmethod
    def open(cls, path: Path | None) -> "DevHome":
        """Make the directory and the provider's below it (mode 0700) if needed.

        The default is the user's data directory. Raises `CommandFailed`.
        """
        home = cls((path or user_data_path("darkbloom") / "dev").absolute())
        try:
            home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            home.provider_home.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise CommandFailed(
                f"The data directory {home.path} cannot be made ({error.strerror}).",
                fix="darkbloom dev --data-dir DIRECTORY",
            ) from None
        return home

    @property
    def provider_home(self) -> Path:
        """Home of the provider daemon."""
        return self.path / "provider"

    @property
    def database(self) -> Path:
        """Database file of the coordinator."""
        return self.path / "coordinator.db"

    def log(self, name: str) -> Path:
        """Log file of one process."""
        return self.path / f"{name}.log"

    def ready_file(self) -> Path:
        """Where this run's coordinator says its port; the process id keeps runs apart."""
        return self.path / f"coordinator-{os.getpid()}.ready"

    def lock(self) -> FileLock:
        """Take the directory for this run: two at once would write each other's logs. Raises `CommandFailed`."""
        try:
            return FileLock.take(self.path / LOCK_FILE_NAME)
        except FileLocked as found:
            text = f"`darkbloom dev` runs already in {self.path} ({found.holder}); use that one, or another directory."
        except OSError as error:
            text = f"The data directory {self.path} cannot be used ({error.strerror})."
        raise CommandFailed(text, fix="darkbloom dev --data-dir DIRECTORY")

    def api_key(self) -> str:
        """Give the API key of this directory; it is made once and kept with mode 0600.

        Two first runs at once end with the same key. Raises `CommandFailed` for a file that holds no key of ours.
        """
        path = self.path / "api-key"
        try:
            return _read_key(path) or _make_key(path)
        except OSError as error:
            raise CommandFailed(
                f"The API key {path} cannot be read or made ({error.strerror}).",
                fix="darkbloom dev --data-dir DIRECTORY",
            ) from None


def _make_key(path: Path) -> str:
    """Write a new key beside its place and link it there; whoever links first wins."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(KEY_PREFIX + secrets.token_hex(KEY_HEX_DIGITS // 2) + "\n")
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    return _read_key(path)


def _read_key(path: Path) -> str:
    """Read the key through one descriptor, closing it to others first; "" when there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        text = file.read(MAX_KEY_BYTES).decode("ascii", "replace").strip() if stat.S_ISREG(facts.st_mode) else ""
        if facts.st_uid != os.geteuid() or not KEY_FORM.fullmatch(text):
            raise CommandFailed(f"The file {path} does not hold an API key of yours.", fix=f"rm {path}")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            os.fchmod(descriptor, 0o600)
    return text
