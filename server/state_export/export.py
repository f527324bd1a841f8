"""One export from beginning to end: stage everything in a private directory, seal it, remove the directory, hand it on.

Invariant: the staging directory is gone before the first byte leaves, whatever happened; the archive lives on in an
open file that has no name any more. So a failure is never a truncated answer, and nothing is left on the disk.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import trio

from server.state_export.archive import write_zip
from server.state_export.capture import ExportFailed, capture
from server.state_export.seal import read_recipient, seal_file

READ_BYTES: Final = 256 * 1024


class ExportBusy(Exception):
    """Another export is under way; they are large, so there is one at a time."""


@dataclass(slots=True)
class SealedArchive:
    """An archive in an open, nameless file; `encrypted` with age unless the operator permits plain ones."""

    file: IO[bytes]
    size: int
    files: int
    databases: int
    encrypted: bool

    async def read(self) -> bytes:
        """Give the next piece; empty at the end."""
        return await trio.to_thread.run_sync(self.file.read, READ_BYTES)

    def close(self) -> None:
        """Let the disk have its space back."""
        self.file.close()


class StateExport:
    """Exports `root`. `recipient` None writes plain archives; `expected` are databases that must be there.

    `staging` is where the private directory is made, by default the system's place for temporary files.
    """

    def __init__(
        self, root: Path, *, recipient: str | None, expected: Collection[str] = (), staging: Path | None = None
    ) -> None:
        self._root = root
        self._recipient = recipient
        self._expected = tuple(expected)
        self._staging = staging
        self._lock = trio.Lock()

    async def make(self) -> SealedArchive:
        """Make an archive, in a thread that is waited for even when the caller is cancelled.

        Raises ExportBusy, RecipientUnusable, ExportFailed. Close what it gives.
        """
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            raise ExportBusy from None
        try:
            made = await trio.to_thread.run_sync(self._make, abandon_on_cancel=False)
        finally:
            self._lock.release()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            made.close()
            raise
        return made

    def _make(self) -> SealedArchive:
        recipient = None if self._recipient is None else read_recipient(self._recipient)
        try:
            # mkdtemp makes it for the owner alone.
            folder = Path(tempfile.mkdtemp(prefix="darkbloom-export-", dir=self._staging))
        except OSError as error:
            raise ExportFailed(f"There is no place to stage the export: {error.strerror}.") from None
        try:
            captured = capture(self._root, folder, expected=self._expected)
            plain = folder / "state.zip"
            write_zip(captured, plain)
            final = plain
            if recipient is not None:
                final = folder / "state.zip.age"
                seal_file(plain, final, recipient)
            file = final.open("rb")
            return SealedArchive(
                file=file,
                size=final.stat().st_size,
                files=sum(one.copy is not None for one in captured),
                databases=sum(one.is_database for one in captured),
                encrypted=recipient is not None,
            )
        except OSError as error:
            raise ExportFailed(f"The export cannot be staged: {error.strerror}.") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
