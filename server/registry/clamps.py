"""Bounds of the numbers that providers report: every one is clamped or read as not measured, none is refused."""

from __future__ import annotations

import math
from typing import Final

MAX_DECODE_TPS: Final = 500.0
MAX_REGISTERED_PREFILL_TPS: Final = 20_000.0
MAX_OBSERVED_PREFILL_TPS: Final = 20_000.0
MAX_BANDWIDTH_GBS: Final = 2_000.0
MAX_MEMORY_GB: Final = 1_024.0
MAX_CORES: Final = 1_024
MAX_POTENTIAL: Final = 1_000_000
MAX_CONCURRENCY: Final = 24
MAX_BUDGET: Final = 10**10
MAX_LOAD_MS: Final = 3_600_000
MAX_REQUESTS: Final = 100_000
MAX_KV_RATE: Final = 2**30


def clamp(value: float | None, low: float, high: float) -> float:
    """Bound a reported number; absent, NaN and infinite values read as `low`."""
    if value is None or not math.isfinite(value):
        return low
    return min(high, max(low, value))


def clamp_int(value: int, high: int) -> int:
    """Bound a reported count to 0..high."""
    return min(high, max(0, value))


def measured(value: float | None, high: float) -> float:
    """Return a measured rate, or 0 (not measured) when it is outside 0..high; never clamp it up or down."""
    if value is None or not math.isfinite(value) or value < 0 or value > high:
        return 0.0
    return value
