"""Which sealed bodies were seen before: a window in time, bounded in number.

Invariant: a mark is kept for the whole window unless `most` newer ones came, so a repetition within it is found.
Owner: the one desk of the coordinator; everything is synchronous.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST_MARKS: Final = 200_000
"""About 40 MB when full; a client needs that many sealed requests within the window to push an older one out."""


class ReplayWindow:
    """Remembers marks for `seconds`; `clock` is monotonic seconds. With 0 seconds it remembers nothing."""

    def __init__(self, seconds: float, *, clock: Callable[[], float], most: int = MOST_MARKS) -> None:
        self._seconds = seconds
        self._clock = clock
        self._most = most
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def is_new(self, mark: bytes) -> bool:
        """Whether a mark was not seen within the window; notes it."""
        if self._seconds <= 0:
            return True
        now = self._clock()
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if mark in self._until:
            return False
        if len(self._until) >= self._most:
            self._until.popitem(last=False)
        self._until[mark] = now + self._seconds
        return True
