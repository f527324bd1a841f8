"""Unpacking the archive of a bundle with a bound on everything that it says of its files.

Invariant: no more is read than two megabytes on the way to the next file, and then as much as that file is said to be
long; what was told of a file is not kept.
"""

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from protocol.release_bundle import MAX_ENTRIES, MAX_UNPACKED_BYTES, leaves_the_bundle
from provider.update.members import extract_member

MAX_HEADER_BYTES: Final = 2 * 1024 * 1024
"""How much may be read before a file is told: its header, its name, what else is said of it."""

MAX_DEPTH: Final = 64
"""Parts of a file's path: each folder on the way is made."""


class ArchiveRefused(ValueError):
    """The archive is against the rules; the text goes on after "the bundle"."""


def unpack_archive(file: IO[bytes], into: Path) -> None:
    """Unpack a compressed archive into a folder that is there; blocks. Raises `ArchiveRefused` and `OSError`."""
    with _opened(file) as (tar, plain):
        for member in _members(tar, plain):
            plain.allow(member.size if member.isreg() else 0)
            extract_member(tar, member, into)


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, "_Allowance"]]:
    try:
        # Not the streaming form of the library, which would take names of any length into memory.
        with _Allowance(fileobj=file, mode="rb") as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            yield tar, plain
    except (ArchiveRefused, OSError):
        raise
    except Exception as error:  # on forged headers the library raises nearly anything
        raise ArchiveRefused(f"cannot be unpacked ({type(error).__name__})") from None


def _members(tar: tarfile.TarFile, plain: "_Allowance") -> Iterator[tarfile.TarInfo]:
    number, unpacked = 0, 0
    while True:
        plain.allow(MAX_HEADER_BYTES)
        member = tar.next()
        if member is None:
            return
        tar.members.clear()  # type: ignore[attr-defined]  # a public list that its stubs do not know
        number += 1
        unpacked += member.size
        if member.size < 0 or number > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES:
            raise ArchiveRefused("holds too much")
        if leaves_the_bundle(member):
            raise ArchiveRefused("holds a file outside of itself")
        if len(PurePosixPath(member.name).parts) > MAX_DEPTH:
            raise ArchiveRefused(f"holds a file whose path has more than {MAX_DEPTH} parts")
        if member.issparse():  # it takes more than it says
            raise ArchiveRefused("holds a sparse file")
        yield member


class _Allowance(gzip.GzipFile):
    """The plain bytes of an archive, read only as far as was allowed last."""

    _left = MAX_HEADER_BYTES

    def allow(self, count: int) -> None:
        """Let this many bytes be read from here on."""
        self._left = count

    def read(self, size: int | None = -1) -> bytes:
        """See `GzipFile`."""
        if size is None or not 0 <= size <= self._left:
            raise ArchiveRefused(
                "holds a file of which too much is told, or a link to a file that does not lie before it"
            )
        self._left -= size
        return super().read(size)
