"""The file `auth_token`: the token of this machine and the coordinator that gave it, readable by the owner only.

Invariant: the file appears under its name complete or not at all, and is never overwritten.
"""

import os
import re
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TOKEN_FILE_NAME: Final = "auth_token"
MAX_TOKEN_CHARACTERS: Final = 1024
_MAX_FILE_BYTES: Final = 4096
_TOKEN: Final = re.compile(rf"[!-~]{{1,{MAX_TOKEN_CHARACTERS}}}", re.ASCII)


class TokenFileRefused(Exception):
    """The file cannot be used; the text names it and the remedy, never its content."""


class TokenFileExists(Exception):
    """The machine has a token already."""


@dataclass(frozen=True, slots=True)
class MachineToken:
    """`coordinator` is the origin that gave the token, or "" in a file that does not say."""

    secret: str = field(repr=False)
    coordinator: str = ""


def is_token(text: str) -> bool:
    """Whether a text can be a token: printable ASCII without spaces, of bounded length."""
    return _TOKEN.fullmatch(text) is not None


class TokenFile:
    """The file below a provider's home. All methods block on the disk."""

    def __init__(self, home: Path) -> None:
        self.path: Final = home / TOKEN_FILE_NAME

    @property
    def exists(self) -> bool:
        """Whether anything has the file's name, usable or not."""
        return os.path.lexists(self.path)

    def make_room(self) -> None:
        """Make the directory (0700) if needed and see that files can be made in it; raises `TokenFileRefused`."""
        home = self.path.parent
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._fresh_path()
            os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            fresh.unlink()
        except OSError as error:
            raise TokenFileRefused(
                f"The directory {home} cannot be used ({error.strerror}); check its owner and mode, or set "
                "DARKBLOOM_HOME."
            ) from None

    def read(self) -> MachineToken | None:
        """Read the token; None without a file.

        Raises `TokenFileRefused` for a file that others may read, that belongs to another user, or that holds none.
        """
        try:
            content = self._content()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TokenFileRefused(
                f"The token file {self.path} cannot be read ({error.strerror}); check its owner and mode."
            ) from None
        lines = content.decode("utf-8", "replace").split("\n")
        secret, coordinator = lines[0].strip(), lines[1].strip() if len(lines) > 1 else ""
        if not is_token(secret):
            raise TokenFileRefused(
                f"The file {self.path} holds no token; remove it and run `darkbloom login` to link this machine again."
            )
        return MachineToken(secret, coordinator)

    def write(self, token: MachineToken) -> None:
        """Write a new file (0600) beside its place and link it there.

        Raises `TokenFileExists` when another log-in was quicker, and `OSError`.
        """
        fresh = self._fresh_path()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{token.secret}\n{token.coordinator}\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(fresh, self.path)
            except FileExistsError:
                raise TokenFileExists from None
        finally:
            fresh.unlink()
        _sync_directory(self.path.parent)

    def remove(self) -> None:
        """Remove the file if it is there; raises `OSError`."""
        self.path.unlink(missing_ok=True)
        _sync_directory(self.path.parent)

    def _fresh_path(self) -> Path:
        return self.path.with_name(f"{TOKEN_FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}.new")

    def _content(self) -> bytes:
        """Read through one descriptor, so that what was checked is what is read."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(file.fileno())
            mode = stat.S_IMODE(facts.st_mode)
            if not stat.S_ISREG(facts.st_mode):
                raise TokenFileRefused(f"The token file {self.path} is not a regular file; remove it and log in again.")
            if facts.st_uid != os.geteuid():
                raise TokenFileRefused(
                    f"The token file {self.path} belongs to another user; run `chown {os.geteuid()} {self.path}`."
                )
            if mode & 0o077:
                raise TokenFileRefused(f"The token file {self.path} has mode {mode:04o}; run `chmod 600 {self.path}`.")
            return file.read(_MAX_FILE_BYTES)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
