"""How long a refused client should wait: from the queue's depth, its measured speed, and the router's own latency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

MIN_SECONDS: Final = 2.0
MAX_SECONDS: Final = 60.0
DRAINING_SECONDS: Final = 3.0
JITTER: Final = 0.2
SLOW_ROUTING_MS: Final = 1_000.0


def base_seconds(depth: int, route_latency_ms: float) -> int:
    """Whole seconds from queue depth and the mean latency of first attempts (ms)."""
    base = 2 if depth <= 0 else min(30, max(2, 3 * depth))
    if route_latency_ms > SLOW_ROUTING_MS:
        base = max(base, min(60, 5 * math.ceil(route_latency_ms / 1000)))
    return base


def ttft_seconds(best_ttft_seconds: float, deadline_seconds: float, base: int) -> int:
    """Whole seconds after a refusal because the first token would come too late."""
    return min(30, max(2, base, math.ceil(best_ttft_seconds - deadline_seconds)))


def measured_seconds(depth: int, releases_per_second: float) -> int:
    """Whole seconds until the queue ahead is gone at its measured speed, 1..60, before jitter."""
    return min(60, max(1, math.ceil((depth + 1) / releases_per_second)))


def retry_after_ms(depth: int, *, releases_per_second: float | None, route_latency_ms: float, random: Random) -> int:
    """Milliseconds to tell a client, 2..60 s; the measured form is spread by 20 % so that retries do not meet again."""
    base = base_seconds(depth, route_latency_ms)
    if releases_per_second is None:
        seconds = float(base)
    else:
        spread = measured_seconds(depth, releases_per_second) * random.uniform(1 - JITTER, 1 + JITTER)
        slow = base_seconds(0, route_latency_ms)
        seconds = max(spread, float(slow) if route_latency_ms > SLOW_ROUTING_MS else spread)
    return math.ceil(1000 * min(MAX_SECONDS, max(MIN_SECONDS, seconds)))
