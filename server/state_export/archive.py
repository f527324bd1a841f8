"""The captured files as one zip: relative paths, permissions kept. Blocking; for a thread."""

from __future__ import annotations

import stat
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.state_export.capture import Captured

_OLDEST: Final = (1980, 1, 1, 0, 0, 0)
"""A zip knows no earlier date."""


def write_zip(files: Iterable[Captured], target: Path) -> None:
    """Write the archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in files:
            name = one.name + ("/" if one.copy is None else "")
            info = zipfile.ZipInfo(name, max(_OLDEST, time.gmtime(one.modified)[:6]))
            info.create_system = 3  # Unix: the upper half of the attributes holds the mode.
            info.external_attr = (stat.S_IFMT(one.mode) | stat.S_IMODE(one.mode)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            if one.copy is None:
                info.external_attr |= 0x10
                archive.writestr(info, b"")
                continue
            info.file_size = one.copy.stat().st_size
            with one.copy.open("rb") as reader, archive.open(info, "w") as writer:
                while block := reader.read(1024 * 1024):
                    writer.write(block)
