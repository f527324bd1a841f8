"""How far a download is, for displays; pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One step: bytes of one file, and of all. `phase` `verified` says that the file is whole and right."""

    phase: Literal["started", "downloading", "verified"]
    file: str
    file_done: int
    file_total: int
    done: int
    total: int


Listener = Callable[[Progress], None]


class ProgressMeter:
    """Adds up the bytes of all files. One thread."""

    def __init__(self, total: int, listener: Listener) -> None:
        self.done = 0
        self.total = total
        self._listener = listener

    def began(self, done: int) -> None:
        """Say what was there already."""
        self.done = done
        self._listener(Progress("started", "", 0, 0, done, self.total))

    def moved(self, file: str, file_done: int, file_total: int, change: int) -> None:
        """Count bytes of a file; `change` is negative when a part of it is fetched again."""
        self.done += change
        self._listener(Progress("downloading", file, file_done, file_total, self.done, self.total))

    def verified(self, file: str, size: int) -> None:
        """A file is whole and right."""
        self._listener(Progress("verified", file, size, size, self.done, self.total))
