"""Walking through the archive of a bundle with a bound on everything that it says of its files.

Invariant: no more is read than two megabytes on the way to the next file (64 MiB on the way to all of them), and then
as much as that file is said to be long; what was told of a file is not kept.

Source: trust rules, releases.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Final

from protocol.release_bundle import MAX_ENTRIES, MAX_UNPACKED_BYTES
from protocol.release_places import Places

MAX_HEADER_BYTES: Final = 2 * 1024 * 1024
"""How much may be read before a file is told: its header, its name, what else is said of it."""

MAX_HEADERS_BYTES: Final = 64 * 1024 * 1024
"""The same of all files together: what is told of all that follow is kept to the end."""

MAX_DEPTH: Final = 64
"""Parts of a file's path: each folder on the way is made."""


class ArchiveRefused(ValueError):
    """The archive is against the rules; the text goes on after "the bundle"."""


@contextmanager
def open_archive(file: IO[bytes]) -> Iterator[ReleaseArchive]:
    """Open a compressed archive at its beginning; what is wrong with it raises ArchiveRefused, reading blocks."""
    try:
        # Not the streaming form of the library, which would take names of any length into memory.
        with _Allowance(fileobj=file, mode="rb") as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            yield ReleaseArchive(tar, plain)
    except ArchiveRefused:
        raise
    except (gzip.BadGzipFile, EOFError) as error:
        raise _broken(error) from None
    except OSError:  # the disk's, and no word about the archive
        raise
    except Exception as error:  # on forged headers the library raises nearly anything
        raise _broken(error) from None


class ReleaseArchive:
    """An open archive; each member is checked before it is handed out, and only its own content can be read then."""

    def __init__(self, tar: tarfile.TarFile, plain: _Allowance) -> None:
        self.tar = tar
        self._plain = plain

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        number, headers, unpacked = 0, 0, 0
        places = Places()
        while True:
            self._plain.allow(MAX_HEADER_BYTES)
            member = self.tar.next()
            if member is None:
                return
            # The library keeps what it was told of every file, in a list that its published types leave out.
            self.tar.members.clear()  # type: ignore[attr-defined]
            number += 1
            headers += self._plain.taken
            unpacked += member.size
            if number > MAX_ENTRIES or headers > MAX_HEADERS_BYTES or member.size < 0 or unpacked > MAX_UNPACKED_BYTES:
                raise ArchiveRefused("holds too many files, or too much")
            if len(PurePosixPath(member.name).parts) > MAX_DEPTH:
                raise ArchiveRefused(f"holds a file whose path has more than {MAX_DEPTH} parts")
            if places.leaves(member):
                raise ArchiveRefused("holds a file outside of itself, below a link, or of a kind that bundles have not")
            if member.issparse():  # it takes more than it says
                raise ArchiveRefused(f"holds a sparse file, {member.name[:100]!r}; pack it as an ordinary one")
            self._plain.allow(member.size if member.isreg() else 0)
            yield member


class _Allowance(gzip.GzipFile):
    """The plain bytes of an archive, read only as far as was allowed last."""

    _allowed = _left = MAX_HEADER_BYTES

    def allow(self, count: int) -> None:
        """Let this many bytes be read from here on."""
        self._allowed = self._left = count

    @property
    def taken(self) -> int:
        """How many of the bytes that were allowed last have been read."""
        return self._allowed - self._left

    def read(self, size: int | None = -1) -> bytes:
        """See `GzipFile`."""
        if size is None or not 0 <= size <= self._left:
            raise ArchiveRefused(
                "holds a file of which too much is told, or a link to a file that does not lie before it"
            )
        self._left -= size
        return super().read(size)


def _broken(error: Exception) -> ArchiveRefused:
    return ArchiveRefused(f"cannot be unpacked ({type(error).__name__})")
