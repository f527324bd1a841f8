"""Where files of a download wait until all of them are there, and how much of each has arrived.

Invariant: a file has its final name only after its size and hash were verified. What a note says to have arrived was
written before the note. All methods block on the disk. Pieces of a file may be written from several threads.
"""

import errno
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from protocol.manifest import Manifest, ManifestFile
from protocol.weight_hash import digest_file
from provider.catalog.limits import DownloadLimits
from provider.models.hub import STAGING_PREFIX

FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
MAX_NOTE_BYTES: Final = 1024 * 1024


class _Note(msgspec.Struct, frozen=True):
    """Which file a part belongs to, and the bytes that have arrived of each piece."""

    sha256: str
    size: int
    piece_bytes: int
    done: tuple[int, ...]


class Piece:
    """One range of a file; `done` bytes of it are on the disk."""

    __slots__ = ("done", "length", "offset")

    def __init__(self, offset: int, length: int, done: int = 0) -> None:
        self.offset = offset
        self.length = length
        self.done = done

    @property
    def is_complete(self) -> bool:
        """Whether all of it has arrived."""
        return self.done >= self.length


class StagedFile:
    """One file of a manifest in a staging folder."""

    def __init__(self, directory: Path, file: ManifestFile, limits: DownloadLimits) -> None:
        self.file: Final = file
        self.path: Final = directory / file.path
        self.is_verified = False
        self.pieces: list[Piece] = []
        self._directory = directory
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._note = self.path.with_name(f"{self.path.name}.part.json")
        self._limits = limits
        self._descriptor = -1
        self._unnoted = 0
        self._noting = threading.Lock()

    @property
    def done(self) -> int:
        """Bytes that have arrived."""
        return self.file.size_bytes if self.is_verified else sum(piece.done for piece in self.pieces)

    def look(self) -> None:
        """Find out what an earlier run left: the verified file, a part that belongs to it, or nothing."""
        if self.path.is_symlink() or self.path.exists():
            if self._is_right(self.path):
                self.is_verified = True
                return
            self.path.unlink()
        self.pieces = self._noted_pieces() or self._fresh_pieces()

    def open(self) -> None:
        """Prepare the part for writing."""
        if self._descriptor >= 0:
            return
        self._part.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._part, flags, 0o644)
        if not any(piece.done for piece in self.pieces):
            os.ftruncate(self._descriptor, 0)
        if len(self.pieces) > 1:
            os.ftruncate(self._descriptor, self.file.size_bytes)
        self.note()

    def write(self, piece: Piece, data: bytes | bytearray | memoryview) -> None:
        """Append to a piece; raises `OSError`, for example on a full disk, and counts what was written until then."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._descriptor, view, piece.offset + piece.done)
            piece.done += count
            self._unnoted += count
            view = view[count:]
        if len(self.pieces) > 1 and self._unnoted >= self._limits.note_bytes:
            self.note()

    def note(self) -> None:
        """Write down how far every piece is; a file of one piece is as far as its part is long."""
        with self._noting:
            self._unnoted = 0
            done = tuple(piece.done for piece in self.pieces)
            note = _Note(self.file.sha256, self.file.size_bytes, self._piece_bytes(), done)
            fresh = self._note.with_name(f"{self._note.name}.new")
            fresh.write_bytes(msgspec.json.encode(note))
            os.replace(fresh, self._note)

    def close(self) -> None:
        """Let go of the part and note its state as far as the disk allows; idempotent."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        try:
            self.note()
        except OSError:
            return

    def finish(self) -> bool:
        """Verify size and hash, then give the file its name; a wrong one is thrown away and gives False."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        if not self._is_right(self._part):
            self.restart()
            return False
        os.replace(self._part, self.path)
        self._note.unlink(missing_ok=True)
        self.is_verified = True
        return True

    def restart(self, *, in_one: bool = False) -> None:
        """Throw away what has arrived; `in_one` fetches the file without ranges."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.pieces = [Piece(0, self.file.size_bytes)] if in_one else self._fresh_pieces()

    def names(self) -> tuple[Path, ...]:
        """All files on the disk that belong to this one."""
        return self.path, self._part, self._note

    def _is_right(self, path: Path) -> bool:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != self.file.size_bytes:
            return False
        return digest_file(path.parent, path.name).sha256.hex() == self.file.sha256

    def _piece_bytes(self) -> int:
        split = self.file.size_bytes > self._limits.split_above
        return self._limits.piece_bytes if split else max(1, self.file.size_bytes)

    def _fresh_pieces(self) -> list[Piece]:
        size, step = self.file.size_bytes, self._piece_bytes()
        return [Piece(offset, min(step, size - offset)) for offset in range(0, size, step)]

    def _noted_pieces(self) -> list[Piece] | None:
        """Read the note; None when it belongs to another file, to other ranges, or says more than there is."""
        try:
            with self._note.open("rb") as file:
                note = msgspec.json.decode(file.read(MAX_NOTE_BYTES), type=_Note)
            arrived = self._part.lstat().st_size
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        pieces = self._fresh_pieces()
        if (note.sha256, note.size) != (self.file.sha256, self.file.size_bytes) or self._part.is_symlink():
            return None
        if len(pieces) == 1:
            pieces[0].done = min(arrived, pieces[0].length)
            return pieces
        if note.piece_bytes != self._piece_bytes() or len(note.done) != len(pieces):
            return None
        for piece, done in zip(pieces, note.done, strict=True):
            if not 0 <= done <= piece.length or arrived < piece.offset + done:
                return None
            piece.done = done
        return pieces


class Staging:
    """The folder of one download; it keeps its name, so that an interrupted download goes on."""

    def __init__(self, snapshots: Path, manifest: Manifest, limits: DownloadLimits) -> None:
        self.directory: Final = snapshots / f"{STAGING_PREFIX}{manifest.r2_prefix.replace('/', '__')}"
        self.files: Final = tuple(StagedFile(self.directory, file, limits) for file in manifest.files)

    def prepare(self) -> None:
        """Make the folder, drop what does not belong to the manifest, and see what is there already."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for file in self.files:
            file.look()
        wanted = {path for file in self.files for path in file.names()}
        for folder, _folders, names in os.walk(self.directory):
            for name in names:
                if (path := Path(folder) / name) not in wanted:
                    path.unlink()

    @property
    def remaining(self) -> int:
        """Bytes that are still to come."""
        return sum(file.file.size_bytes - file.done for file in self.files)

    def leave(self) -> None:
        """After a failure: remove the folder if nothing at all has arrived, and what was never written to."""
        for file in self.files:
            file.close()
        if not any(file.done for file in self.files):
            self.discard()

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.directory, ignore_errors=True)


def sync_tree(directory: Path, files: Iterable[Path]) -> None:
    """Bring a folder's entries to the disk; the content of files was brought there when each was finished."""
    for folder in {directory, *(path.parent for path in files)}:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
