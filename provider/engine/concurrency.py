"""How many rows a slot may run together, learned from what one more row brings.

Source: provider rules, adaptive cap.
"""

from typing import Final

from provider.engine.average import Average

MIN_GAIN: Final = 1.03
"""A further row must raise the tokens per second of all by this factor, or else leave each row fast enough."""

FAST_ENOUGH_TPS: Final = 10.0
"""Tokens per second of one row below which it matters whether a further row pays."""

RAISE_AFTER_SECONDS: Final = 60.0
"""How long the cap stays lowered before one more row is tried again."""

MIN_SAMPLES: Final = 8
"""Steps of one batch size before its speed is believed."""


class AdaptiveCap:
    """Owned by the engine thread; `limit` is the configured number of rows."""

    __slots__ = ("_cap", "_changed_at", "_limit", "_samples", "_speeds")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._cap = limit
        self._changed_at = 0.0
        self._speeds = [Average() for _ in range(limit + 1)]
        self._samples = [0] * (limit + 1)

    def note(self, rows: int, seconds: float, now: float) -> None:
        """Take the duration of one step that only decoded, and lower the cap if the last row did not pay."""
        if not 0 < rows <= self._limit or seconds <= 0:
            return
        self._speeds[rows].add(rows / seconds)
        self._samples[rows] += 1
        if rows < 2 or rows > self._cap or self._samples[rows] < MIN_SAMPLES:
            return
        speed, before = self._speeds[rows].value, self._speeds[rows - 1].value
        if speed is None or before is None or self._samples[rows - 1] < MIN_SAMPLES:
            return
        if speed < before * MIN_GAIN and speed / rows < FAST_ENOUGH_TPS:
            self._set(rows - 1, now)

    def rows(self, now: float) -> int:
        """Rows that may run now, at least one; a lowered cap rises by one after a minute."""
        if self._cap < self._limit and now - self._changed_at >= RAISE_AFTER_SECONDS:
            self._set(self._cap + 1, now)
        return self._cap

    def _set(self, cap: int, now: float) -> None:
        anew = cap if cap > self._cap else cap + 1
        self._cap = cap
        self._changed_at = now
        for size in range(anew, self._limit + 1):
            self._samples[size] = 0  # what a larger batch brings is measured anew before it counts again
