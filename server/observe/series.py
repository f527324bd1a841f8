"""The numbers behind one metric series: plain attributes of the loop's thread, turned into samples when asked for.

Invariant: only the event loop's thread touches them; there is no lock, and recording costs no more than an addition.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Sequence


class Number:
    """One counter or gauge."""

    __slots__ = ("amount",)

    def __init__(self) -> None:
        self.amount = 0.0

    def inc(self, by: float = 1) -> None:
        """Add to it."""
        self.amount += by


class Distribution:
    """One histogram: observations by bucket, and their sum; a value equal to a bound counts in its bucket."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(map(float, bounds))
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """Record one observation."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self.total += amount

    def buckets(self) -> list[tuple[str, float]]:
        """Return (upper bound, observations up to it), ascending; the last bound is `+Inf`."""
        bounds = [*(_shown(bound) for bound in self._bounds), _INFINITY]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))


_INFINITY: Final = "+Inf"


def _shown(bound: float) -> str:
    """Return a bound as Prometheus writes numbers."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
