"""The hash of our own code as it lies on disk: all files of a tree, without compiled caches.

Source: trust rules, Python specifics.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def runtime_hash(roots: Iterable[Path]) -> str:
    """Hash every file below the roots, full paths in string order; "" when one cannot be read. Blocks.

    Links to files count with their content, links to directories are not followed.
    """
    total = hashlib.sha256()
    try:
        for path in sorted(str(path) for root in roots for path in _files(root)):
            with open(path, "rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return ""
    return total.hexdigest()


def code_roots() -> tuple[Path, ...]:
    """The packages that serve requests."""
    above = Path(__file__).resolve().parents[2]
    return tuple(above / name for name in ("native", "protocol", "provider"))


def _files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        yield from (Path(folder) / name for name in names if not name.endswith(".pyc"))
