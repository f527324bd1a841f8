"""How long to wait before the next connection; pure, the caller brings the randomness.

Source: provider rules, coordinator session.
"""

from collections.abc import Callable
from typing import Final

BASE_SECONDS: Final = 1.0
CAP_SECONDS: Final = 30.0
LOWEST_FACTOR: Final = 0.5
STABLE_SECONDS: Final = 30.0
"""A session that was registered for this long counts as good: the delays start over."""

SPREAD_SECONDS: Final = 4.0
"""Added at random once after a good session, so that a fleet does not return in one moment."""


class Backoff:
    """Delays double from 1 s to 30 s, times a random factor in [0.5, 1]. `spread` gives uniform numbers in [0, 1)."""

    def __init__(self, spread: Callable[[], float]) -> None:
        self._spread = spread
        self._next = BASE_SECONDS

    def next_delay(self, registered_seconds: float | None) -> float:
        """Give the pause in seconds after a session that was registered for this long, or never (None)."""
        extra = 0.0
        if registered_seconds is not None and registered_seconds >= STABLE_SECONDS:
            self._next = BASE_SECONDS
            extra = SPREAD_SECONDS * self._spread()
        factor = LOWEST_FACTOR + (1 - LOWEST_FACTOR) * self._spread()
        delay = self._next * factor + extra
        self._next = min(CAP_SECONDS, self._next * 2)
        return delay
