"""The token of the local server: made once, readable by the owner only, compared in constant time."""

import base64
import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

PREFIX: Final = "dk-local-"
_FORM: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
_MAX_BYTES: Final = 1024
_RANDOM_BYTES: Final = 32


class TokenUnusable(Exception):
    """The token file cannot be used; the text names it and the remedy."""


def load_or_create_token(path: Path) -> str:
    """Give the token of a file, which is made (0600) if it is not there; blocks. Raises `TokenUnusable`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _read(path) or _make(path)
    except OSError as error:
        raise TokenUnusable(
            f"The token file {path} cannot be read or written ({error.strerror}); check its owner and mode."
        ) from None


def is_same_token(given: str, expected: str) -> bool:
    """Compare without telling by time how much was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        text = file.read(_MAX_BYTES).decode("ascii", "replace").strip() if stat.S_ISREG(facts.st_mode) else ""
    if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        raise TokenUnusable(f"The token file {path} may be read by others; run `chmod 600 {path}` as its owner.")
    if not _FORM.fullmatch(text):
        raise TokenUnusable(f"The file {path} holds no token of the local server; remove it, a new one is made.")
    return text


def _make(path: Path) -> str:
    """Write beside the place and link it there: two first starts at once end with the same token."""
    random = base64.urlsafe_b64encode(secrets.token_bytes(_RANDOM_BYTES)).rstrip(b"=").decode()
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{PREFIX}{random}\n")
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    return _read(path)
