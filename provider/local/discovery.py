"""The file `local.json`: where programs of this user find the local server that runs now."""

from pathlib import Path
from typing import Final

import msgspec

from provider.files import replace_file
from provider.status.process import is_running

MAX_FILE_BYTES: Final = 16 * 1024


class LocalInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`api_key` is "" where none is asked for; `updated_at` is Unix seconds."""

    base_url: str
    api_key: str
    host: str
    port: int
    pid: int
    version: str
    updated_at: float
    process_start: str = ""

    def __repr__(self) -> str:
        # The key stands in the file alone.
        return f"<LocalInfo {self.base_url}>"


def write_local_info(path: Path, info: LocalInfo) -> None:
    """Replace the file (0600); blocks. Raises `OSError`."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(info), indent=1) + b"\n")


def read_local_info(path: Path) -> LocalInfo | None:
    """Read the file; None without one, or when the server that wrote it is gone."""
    try:
        with path.open("rb") as file:
            info = msgspec.json.decode(file.read(MAX_FILE_BYTES), type=LocalInfo)
    except (OSError, ValueError):
        return None
    return info if is_running(info.pid, info.process_start) else None
