"""How many warm machines a model needs, and how many loads one round may start. Pure arithmetic.

Source: routing, warm-pool controller.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from server.registry.admission import quality_concurrency
from server.registry.demand import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPICAL_PROMPT: Final = 512
TYPICAL_OUTPUT: Final = 256
SERVICE_MIN: Final = 0.5
SERVICE_MAX: Final = 120.0
QUALITY_FLOOR: Final = 15.0
CONCURRENCY_FALLBACK: Final = 4
BURST_BUFFER: Final = 1
SATURATED_SHARE: Final = 0.8
LOADS_PER_ROUND: Final = 4


class Load(NamedTuple):
    """The work on a model: in engines, in the queue, and arrivals per second that find no warm place."""

    running: int
    waiting: int
    queued: int
    spill_per_second: float


def service_seconds(prefill_tps: float, decode_tps: float) -> float:
    """How long a typical request keeps a place, 0.5..120 s; unknown rates (0) count as slow."""
    if prefill_tps <= 0 or decode_tps <= 0:
        return SERVICE_MAX
    seconds = TYPICAL_PROMPT / prefill_tps + TYPICAL_OUTPUT / decode_tps
    return min(SERVICE_MAX, max(SERVICE_MIN, seconds))


def places_per_machine(cap: int, solo_tps: float, load_factor: float) -> int:
    """Streams that one machine runs well; 4 where its speed is unknown."""
    if solo_tps <= 0 or cap <= 0:
        return CONCURRENCY_FALLBACK
    return quality_concurrency(cap, solo_tps, QUALITY_FLOOR, load_factor)


def offered_load(load: Load, service: float) -> float:
    """Requests that want a place at the same time."""
    return load.running + load.waiting + load.queued + load.spill_per_second * service


def has_pressure(counts: Mapping[Signal, float], *, queued: int, saturated: int, warm: int) -> bool:
    """Whether requests suffer for lack of warm machines."""
    if counts.get(Signal.CAPACITY_REJECT, 0) >= 1 or counts.get(Signal.TTFT_MISS, 0) >= 1:
        return True
    if counts.get(Signal.COLD_DISPATCH, 0) >= 1 or counts.get(Signal.SPECULATIVE_WON, 0) >= 1:
        return True
    if counts.get(Signal.SPECULATIVE_STARTED, 0) >= 2 or queued > 0:
        return True
    return any(count > 0 for count in counts.values()) and warm > 0 and saturated / warm >= SATURATED_SHARE


def target_warm(*, offered: float, places: int, warm: int, eligible_cold: int, pressure: bool, floor: int = 0) -> int:
    """Warm machines that the model should have; what is warm is never given up here."""
    wanted = warm
    if pressure:
        wanted = max(math.ceil(offered / max(1, places)) + BURST_BUFFER, warm + 1)
    return min(warm + eligible_cold, max(warm, wanted, floor))


def loads_this_round(gap: int, *, ceiling: int = 16, at_least: int = LOADS_PER_ROUND, share: float = 0.5) -> int:
    """How many of the missing machines to load now: half of a large gap, all of a small one."""
    return max(0, min(gap, ceiling, max(at_least, math.ceil(gap * share))))
