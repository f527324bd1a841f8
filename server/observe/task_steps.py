"""How long tasks run without a checkpoint, measured by an instrument of trio; costs some time for every task step."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from server.observe.metrics import Metrics

BUCKETS_SECONDS: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05)
QUANTILE: Final = 0.999

# For the quantile: classes of 5 %, from 10 µs (all shorter steps are one class) to over 20 s.
_FINEST_SECONDS: Final = 1e-5
_LOG_STEP: Final = math.log(1.05)
_CLASSES: Final = 300


class TaskSteps(trio.abc.Instrument):
    """Counts task steps by length; `clock` gives seconds.

    A step is what a task runs between two points at which another task may run. Memory is constant.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self._classes = [0] * _CLASSES
        self.count = 0
        self.sum_seconds = 0.0
        self.max_seconds = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note when a step begins (called by trio)."""
        self._began = self._clock()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the step that ends (called by trio)."""
        self.note(self._clock() - self._began)

    def note(self, seconds: float) -> None:
        """Count one step."""
        self.count += 1
        self.sum_seconds += seconds
        self.max_seconds = max(self.max_seconds, seconds)
        self._buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        place = 0 if seconds <= _FINEST_SECONDS else math.ceil(math.log(seconds / _FINEST_SECONDS) / _LOG_STEP)
        self._classes[min(place, _CLASSES - 1)] += 1

    def quantile_seconds(self, share: float = QUANTILE) -> float:
        """Return the length that this share of the steps does not pass (nearest rank), at most 5 % too long."""
        rank = math.ceil(share * self.count)
        seen = 0
        for place, number in enumerate(self._classes):
            seen += number
            if seen >= rank:
                return min(_FINEST_SECONDS * math.exp(place * _LOG_STEP), self.max_seconds)
        return self.max_seconds

    def describe(self) -> list[Metric]:
        """Name the families without reading them (called by prometheus_client)."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give histogram, p99.9 and maximum since the start (called by prometheus_client)."""
        below, buckets = 0, []
        for bound, number in zip((*map(str, BUCKETS_SECONDS), "+Inf"), self._buckets, strict=True):
            below += number
            buckets.append((bound, float(below)))
        meaning = "Time that a task runs without a checkpoint."
        yield HistogramMetricFamily("darkbloom_task_step_seconds", meaning, buckets, self.sum_seconds)
        yield GaugeMetricFamily(
            "darkbloom_task_step_p999_seconds", "99.9 % of the task steps are no longer.", self.quantile_seconds()
        )
        yield GaugeMetricFamily("darkbloom_task_step_max_seconds", "The longest task step.", self.max_seconds)


@contextmanager
def measured_task_steps(metrics: Metrics, *, wanted: bool) -> Iterator[None]:
    """Measure the steps of all tasks until the block ends, if `wanted`."""
    if not wanted:
        yield
        return
    steps = TaskSteps()
    metrics.families.registry.register(steps)
    trio.lowlevel.add_instrument(steps)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(steps)
        metrics.families.registry.unregister(steps)
