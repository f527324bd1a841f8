"""The few statistics that reports use; percentiles are nearest rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value at the nearest rank of an ordered sequence, None for an empty one; `share` is 0..1."""
    if not ordered:
        return None
    rank = max(1, math.ceil(share * len(ordered)))
    return ordered[rank - 1]


def jain(values: Iterable[float]) -> float | None:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything; None without any value above 0."""
    found = list(values)
    squares = sum(value * value for value in found)
    return None if squares <= 0 else sum(found) ** 2 / (len(found) * squares)


def gini(values: Iterable[float]) -> float | None:
    """Gini coefficient: 0 when all are equal; None without any value above 0."""
    ordered = sorted(values)
    total = sum(ordered)
    if total <= 0:
        return None
    count = len(ordered)
    weighted = sum(rank * value for rank, value in enumerate(ordered, start=1))
    return 2 * weighted / (count * total) - (count + 1) / count
