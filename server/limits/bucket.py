"""The token bucket: pure arithmetic over a clock that the caller reads.

Invariant: the level never passes the burst; only `debit` may push it below zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

MIN_RETRY_SECONDS: Final = 1
MAX_RETRY_SECONDS: Final = 60
_EPSILON: Final = 1e-9
"""Room for the rounding of `elapsed × rate`, so that a bucket whose time has come is not refused for a 1e-13."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` units flow in, at most `burst` stay; a rate of zero or less means that there is no limit."""

    per_second: float
    burst: float

    @classmethod
    def per_minute(cls, amount: float, burst: float | None = None) -> Rate:
        """Give the rate of an amount a minute; without `burst` a whole minute may come at once."""
        return cls(amount / 60, amount if burst is None else burst)

    @property
    def limited(self) -> bool:
        """False when everything is allowed."""
        return self.per_second > 0

    @property
    def minute(self) -> int:
        """Units a minute, as the headers show it."""
        return round(self.per_second * 60)


class TokenBucket:
    """Starts full. `now` is in seconds of any clock that does not go back."""

    __slots__ = ("_level", "_stamp", "rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._level = float(rate.burst)
        self._stamp = now

    @property
    def touched_at(self) -> float:
        """When the level was last brought up to date by a change."""
        return self._stamp

    def level(self, now: float) -> float:
        """Give the level at `now` without changing anything."""
        elapsed = now - self._stamp
        if elapsed <= 0:
            return self._level
        rate = self.rate
        level = self._level + elapsed * rate.per_second
        return min(rate.burst, level)

    def has(self, amount: float, now: float) -> bool:
        """Whether `amount` is there; nothing is taken. An amount of zero or less is always there."""
        return amount <= 0 or self.level(now) >= amount - _EPSILON

    def take(self, amount: float, now: float) -> bool:
        """Subtract `amount` if it is there, else change nothing."""
        if not self.has(amount, now):
            return False
        self.debit(amount, now)
        return True

    def debit(self, amount: float, now: float) -> None:
        """Subtract `amount` in any case; the level may go below zero."""
        self._settle(now)
        if amount > 0:
            self._level -= amount

    def credit(self, amount: float, now: float) -> None:
        """Give `amount` back, up to the burst."""
        self._settle(now)
        self._level = min(self.rate.burst, self._level + max(0.0, amount))

    def change_rate(self, rate: Rate, now: float) -> None:
        """Go on with another rate; a level above the new burst is cut."""
        self._settle(now)
        self.rate = rate
        self._level = min(self._level, rate.burst)

    def seconds_until(self, amount: float, now: float) -> float:
        """Give how long it takes until `amount` is there; 0 when it is."""
        missing = amount - self.level(now)
        if missing <= _EPSILON or not self.rate.limited:
            return 0.0
        return missing / self.rate.per_second

    def retry_after(self, amount: float, now: float) -> int:
        """Give the whole seconds to wait for `amount`, rounded up, between 1 and 60."""
        seconds = math.ceil(self.seconds_until(amount, now) - _EPSILON)
        return min(MAX_RETRY_SECONDS, max(MIN_RETRY_SECONDS, seconds))

    def remaining(self, now: float) -> int:
        """Give the whole units that are left, never below zero."""
        return max(0, math.floor(self.level(now) + _EPSILON))

    def seconds_to_full(self, now: float) -> int:
        """Give the whole seconds until the bucket is full, rounded up."""
        return math.ceil(self.seconds_until(self.rate.burst, now) - _EPSILON)

    def _settle(self, now: float) -> None:
        if now > self._stamp:
            self._level = self.level(now)
            self._stamp = now
