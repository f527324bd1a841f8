"""What a machine's memory earns a month, and how much of that belongs to one epoch. Pure integers, micro-USD.

Invariant: fractions are carried, never dropped. The floors of a month are the differences of one rounded running sum,
so a machine that is always there gets exactly its tier a month.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from server.rewards.epochs import EPOCH_MS, EPOCH_SECONDS

TIERS: Final[tuple[tuple[int, int], ...]] = (
    (512, 40_000_000),
    (192, 30_000_000),
    (128, 26_000_000),
    (96, 22_000_000),
    (64, 18_000_000),
    (48, 16_000_000),
    (32, 12_000_000),
    (24, 10_000_000),
)
"""Least memory in GiB, and the monthly amount; the largest that fits counts."""

DEFAULT_MIN_UPTIME_MS: Final = 270_000
WORKHORSE_GB: Final = range(48, 97)
"""The band of memory that is served first."""


def monthly_tier(memory_gb: int) -> int:
    """Give the monthly amount for a memory size; 0 below the smallest tier."""
    return next((amount for least, amount in TIERS if memory_gb >= least), 0)


def is_workhorse(memory_gb: int) -> bool:
    """Whether a machine is in the band that is served first."""
    return memory_gb in WORKHORSE_GB


@dataclass(frozen=True, slots=True)
class FloorScale:
    """How uptime becomes money: nothing at the least uptime, everything at a whole epoch, a straight line between."""

    month_seconds: int
    min_uptime_ms: int = DEFAULT_MIN_UPTIME_MS

    def units(self, tier: int, uptime_ms: int) -> int:
        """Give an epoch's floor as an exact count of units; `divisor` units are one micro-USD."""
        return tier * EPOCH_SECONDS * max(0, min(uptime_ms, EPOCH_MS) - self.min_uptime_ms)

    @property
    def divisor(self) -> int:
        """Units in a micro-USD."""
        return self.month_seconds * (EPOCH_MS - self.min_uptime_ms)

    def floor(self, earlier_units: int, units: int) -> int:
        """Give an epoch's floor in micro-USD: what it adds to the rounded sum of the month's `earlier_units`."""
        return self._rounded(earlier_units + units) - self._rounded(earlier_units)

    def _rounded(self, units: int) -> int:
        return (2 * units + self.divisor) // (2 * self.divisor)


def draw_of(floor: int, organic: int, *, reduction_thousandths: int) -> int:
    """Give what is asked for: the floor, less a part of what the machine earned by work in the epoch."""
    return max(0, floor - organic * reduction_thousandths // 1000)
