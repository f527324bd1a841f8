"""The record of a run: one line per event, hashed as it is written, kept only where somebody asked for it."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from server.sim.kernel import Kernel


class Journal:
    """Events in order; two runs are the same exactly when their digests are.

    A line holds the time in microseconds of the run, a word, and identifiers or numbers; never content.
    """

    __slots__ = ("_hash", "_kernel", "_out", "lines")

    def __init__(self, kernel: Kernel, out: TextIO | None = None) -> None:
        self._kernel = kernel
        self._hash = blake2b(digest_size=16)
        self._out = out
        self.lines = 0

    def note(self, what: str, *fields: object) -> None:
        """Append one event."""
        words = " ".join(map(str, fields))
        line = f"{self._kernel.now * 1e6:.0f} {what} {words}\n"
        self._hash.update(line.encode())
        self.lines += 1
        if self._out is not None:
            self._out.write(line)

    @property
    def digest(self) -> str:
        """The hash of all events so far, in hexadecimal."""
        return self._hash.hexdigest()
