"""The machine's load as heartbeats report it: read on a worker thread, kept for a second.

Invariant: one reading at a time; the processor figure covers the time since the reading before it.
"""

from collections.abc import Callable
from typing import Final

import trio

from protocol.messages.from_provider import SystemMetrics
from provider.host.machine import CpuTicks, Host

KEEP_SECONDS: Final = 1.0


class MetricsSampler:
    """Samples one host; times are trio's clock."""

    def __init__(self, host: Host, *, clock: Callable[[], float] = trio.current_time) -> None:
        self._host = host
        self._clock = clock
        self._lock = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._ticks: CpuTicks | None = None
        self._last: tuple[float, SystemMetrics] | None = None

    async def sample(self) -> SystemMetrics:
        """Give the load of this second; the first processor figure is 0. Cancelling abandons the reading."""
        async with self._lock:
            now = self._clock()
            if self._last is not None and now - self._last[0] < KEEP_SECONDS:
                return self._last[1]
            metrics = await trio.to_thread.run_sync(self._read, limiter=self._limiter)
            self._last = now, metrics
            return metrics

    def _read(self) -> SystemMetrics:
        ticks = self._host.cpu_ticks()
        before, self._ticks = self._ticks, ticks
        return SystemMetrics(
            memory_pressure=round(self._host.memory_pressure(), 4),
            cpu_usage=round(cpu_usage(before, ticks), 4),
            thermal_state=self._host.thermal_state(),
        )


def cpu_usage(before: CpuTicks | None, now: CpuTicks | None) -> float:
    """Busy part of the processor time between two readings, 0 to 1; 0 without two readings in order."""
    if before is None or now is None or now.total <= before.total:
        return 0.0
    idle = min(1.0, max(0.0, (now.idle - before.idle) / (now.total - before.total)))
    return 1.0 - idle
