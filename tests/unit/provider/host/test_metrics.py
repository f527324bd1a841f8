"""Metrics are read once a second, off the trio thread."""

import threading

import pytest

from provider.host.machine import CpuTicks
from provider.host.metrics import MetricsSampler, cpu_usage
from tests.testbed.fake_machine import FakeHost


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, CpuTicks(100, 50), 0.0),
        (CpuTicks(100, 50), None, 0.0),
        (CpuTicks(100, 50), CpuTicks(200, 75), 0.75),
        (CpuTicks(100, 50), CpuTicks(200, 150), 0.0),
        (CpuTicks(100, 50), CpuTicks(200, 50), 1.0),
        (CpuTicks(100, 50), CpuTicks(100, 50), 0.0),
        (CpuTicks(200, 50), CpuTicks(100, 10), 0.0),
        (CpuTicks(100, 50), CpuTicks(200, 40), 1.0),
    ],
)
def test_processor_usage_is_a_difference(before, now, expected):
    assert cpu_usage(before, now) == expected


async def test_a_reading_is_kept_for_a_second():
    host, now = FakeHost(), 10.0
    sampler = MetricsSampler(host, clock=lambda: now)
    first = await sampler.sample()
    assert (first.memory_pressure, first.cpu_usage, first.thermal_state) == (0.25, 0.0, "nominal")
    host.ticks, host.pressure = CpuTicks(1100, 950), 0.5
    now = 10.9
    assert await sampler.sample() is first
    now = 11.0
    second = await sampler.sample()
    assert (second.memory_pressure, second.cpu_usage) == (0.5, 0.5)
    assert host.readings == 2


async def test_the_host_is_read_on_a_thread():
    class Watched(FakeHost):
        def memory_pressure(self):
            seen.append(threading.current_thread())
            return 0.0

    seen = []
    await MetricsSampler(Watched()).sample()
    assert seen != [threading.current_thread()]
