"""What a bundle of the provider program holds, and what it must not; coordinator and provider check it alike.

Source: trust rules, releases.
"""

import posixpath
import tarfile
from pathlib import PurePosixPath
from typing import Final

ENTRY: Final = "bin/darkbloom"
"""The program in the bundle; the hash of this very file is what machines show of themselves."""

MAX_BUNDLE_BYTES: Final = 2 * 1024**3
MAX_UNPACKED_BYTES: Final = 8 * 1024**3
MAX_ENTRY_BYTES: Final = 512 * 1024**2
MAX_ENTRIES: Final = 16_384


def leaves_the_bundle(member: tarfile.TarInfo) -> bool:
    """Whether a member is no file, folder or link, or if it, or what it links to, lies outside by its name.

    What a link on the way would make of the name is for whoever unpacks it.
    """
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        return True
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        return True
    if not (member.issym() or member.islnk()):
        return False
    # A symbolic link starts at its own place, a hard link at the root of the archive.
    target = posixpath.normpath(posixpath.join(path.parent if member.issym() else "", member.linkname))
    return target.startswith("/") or PurePosixPath(target).parts[:1] == ("..",)


def bundle_name(platform: str) -> str:
    """The file name under which the bundle of a platform is published."""
    return f"darkbloom-bundle-{platform}.tar.gz"
