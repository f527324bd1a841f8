"""How this program was installed, and switching from one installed version to another.

A bundle lives in `BASE/versions/VERSION`; `BASE/current` is a link to the version that runs at the next start.
Invariant: the link always names a complete version, because it is replaced in one step.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provider.update.mark import MARK

VERSIONS: Final = "versions"
CURRENT: Final = "current"
STAGING: Final = ".staging"


@dataclass(frozen=True, slots=True)
class Installation:
    """A folder that holds bundles."""

    base: Path

    @property
    def current(self) -> str:
        """The version that the link names; "" without one."""
        try:
            return Path(os.readlink(self.base / CURRENT)).name
        except OSError:
            return ""

    @property
    def staging(self) -> Path:
        """Where the next version is unpacked."""
        return self.base / VERSIONS / STAGING

    def folder(self, version: str) -> Path:
        """Where a version lives."""
        return self.base / VERSIONS / version

    def adopt_staged(self, version: str) -> None:
        """Give the staged version its name; raises `OSError`."""
        target = self.folder(version)
        if target.exists():
            shutil.rmtree(target)
        self.staging.rename(target)

    def point_to(self, version: str) -> None:
        """Let the next start run this version; raises `OSError`, FileNotFoundError if it is not there."""
        if not (self.folder(version) / MARK).is_file():
            raise FileNotFoundError(2, "that version is not installed", str(self.folder(version)))
        fresh = self.base / f"{CURRENT}.{os.getpid()}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path(VERSIONS) / version)
        fresh.replace(self.base / CURRENT)
        _sync(self.base)

    def prune(self, keep: set[str]) -> None:
        """Remove every version but these; what cannot be removed stays."""
        for folder in (self.base / VERSIONS).iterdir():
            if folder.name not in keep and folder.name != self.current:
                shutil.rmtree(folder, ignore_errors=True)


def find_installation(prefix: Path | None = None) -> Installation | None:
    """Find the bundles around this interpreter (or `prefix`); None when the program came with a package manager."""
    root = (prefix or Path(sys.prefix)).resolve()
    base = root.parent.parent
    is_bundle = (root / MARK).is_file() and root.parent.name == VERSIONS and (base / CURRENT).is_symlink()
    return Installation(base) if is_bundle else None


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
