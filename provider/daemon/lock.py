"""One daemon for each state directory."""

from pathlib import Path
from typing import Final

from provider.host.file_lock import FileLock, FileLocked

LOCK_FILE_NAME: Final = "provider.lock"


class LockHeld(Exception):
    """Another daemon runs; `pid` is its process id as far as it can be told."""

    def __init__(self, path: Path, found: FileLocked) -> None:
        super().__init__(
            f"A provider is running already ({found.holder} holds {path}); stop it first with `darkbloom stop`."
        )
        self.pid: Final = found.pid


def take_provider_lock(home: Path) -> FileLock:
    """Lock the state directory, made if needed; raises `LockHeld`, or `OSError` when the file cannot be made."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / LOCK_FILE_NAME
    try:
        return FileLock.take(path)
    except FileLocked as found:
        raise LockHeld(path, found) from None
