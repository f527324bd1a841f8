"""Where the control socket of a home lies; both sides find it by the same rule."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "control.sock"
MAX_PATH_BYTES: Final = 100
"""The kernel takes 104 (macOS) or 108 (Linux) bytes with the ending zero."""
SHORT_DIRECTORY: Final = Path("/tmp")


def socket_path(home: Path) -> Path:
    """Give the socket's path: in the home, or for a home with a long name in a short private directory."""
    path = home.absolute() / SOCKET_NAME
    if _fits(path):
        return path
    digest = hashlib.sha256(os.fsencode(home.absolute())).hexdigest()[:16]
    short = Path(f"darkbloom-{os.geteuid()}") / f"{digest}.sock"
    # The variable TMPDIR may name a directory that is as deep as the home.
    path = Path(tempfile.gettempdir()) / short
    return path if _fits(path) else SHORT_DIRECTORY / short


def is_own_directory(path: Path) -> bool:
    """Whether a directory is this user's and no link to one; raises `OSError`. Anybody may make one in `/tmp`."""
    facts = path.lstat()
    return facts.st_uid == os.geteuid() and stat.S_ISDIR(facts.st_mode)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_PATH_BYTES
