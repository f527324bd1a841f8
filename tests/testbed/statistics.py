"""Nearest-rank percentiles of measured seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable


def percentile(values: Iterable[float], share: float) -> float:
    """Give the nearest-rank percentile; `share` lies in 0..1. Raises `ValueError` without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("A percentile needs at least one value.")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
