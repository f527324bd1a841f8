"""What the state of a machine is worth in the cost of a request, in microseconds: places taken, refusals, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.rates import STATE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.state import Live

QUEUE_US: Final = 3_000_000
PENDING_US: Final = 750_000
CAPACITY_RATE_US: Final = 15_000_000.0
"""For a penalised share of capacity refusals of 1."""
STATE_US: Final = {state: round(1000 * ms) for state, ms in STATE_MS.items()}
PRESSURE_US: Final = 4_000_000.0
CPU_US: Final = 1_500_000.0
GPU_US: Final = 5_000_000.0
THERMAL_US: Final[Mapping[str, float]] = {"fair": 2_000_000.0, "serious": 8_000_000.0}


def health_us(live: Live, total_memory_gb: float) -> int:
    """Penalty for a machine that is busy, hot or full."""
    gpu = min(1.0, max(0.0, live.gpu_active_gb / total_memory_gb)) if total_memory_gb > 0 else 0.0
    return round(
        PRESSURE_US * live.memory_pressure + CPU_US * live.cpu_usage + THERMAL_US.get(live.thermal, 0.0) + GPU_US * gpu
    )
