"""How much went out over the last seconds."""

from typing import Final

WINDOW_SECONDS: Final = 10


class Throughput:
    """Counts by whole seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._counts = [0] * WINDOW_SECONDS
        self._seconds = [-1] * WINDOW_SECONDS
        self.total = 0

    def note(self, now: float) -> None:
        """One delta went out."""
        second = int(now)
        slot = second % WINDOW_SECONDS
        if self._seconds[slot] != second:
            self._seconds[slot] = second
            self._counts[slot] = 0
        self._counts[slot] += 1
        self.total += 1

    def per_second(self, now: float) -> float:
        """Deltas a second over the last full seconds; nearly tokens, because a delta holds one or a few."""
        last = int(now) - 1
        counted = sum(
            count
            for count, second in zip(self._counts, self._seconds, strict=True)
            if last - WINDOW_SECONDS + 2 <= second <= last
        )
        return counted / (WINDOW_SECONDS - 1)
