"""NVIDIA devices as the driver's library reports them; recorded figures stand for the driver."""
# ruff: noqa: N802

import ctypes
import importlib.metadata

import pytest

from provider.host.linux import LinuxHost
from provider.host.nvidia import Nvml, known_bandwidth, uses_cuda
from provider.memory.system import DeviceMemory

GIB = 2**30


class Driver:
    """Answers like libnvidia-ml on a machine with one device."""

    def __init__(self, **facts):
        self.facts = {
            "name": b"NVIDIA H100 80GB HBM3",
            "total": 85520809984,
            "free": 84000000000,
            "cores": 16896,
            "capability": (9, 0),
            "clock": 2619,
            "width": 5120,
            "reasons": 0,
            "temperature": 40,
            "slowdown": 92,
            "missing": (),
            **facts,
        }

    def __getattr__(self, name):
        if name in self.facts["missing"]:
            raise AttributeError(name)
        return getattr(self, f"_{name}", None) or pytest.fail(f"unexpected call {name}")

    def _nvmlInit_v2(self):
        return self.facts.get("init", 0)

    def _nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        handle._obj.value = 7
        return self.facts.get("handle", 0)

    def _nvmlDeviceGetName(self, device, buffer, size):
        assert device.value == 7
        buffer.value = self.facts["name"]
        return 0

    def _nvmlDeviceGetMemoryInfo(self, device, memory):
        memory._obj.total, memory._obj.free = self.facts["total"], self.facts["free"]
        return self.facts.get("memory_code", 0)

    def _number(self, fact):
        def call(device, *arguments):
            arguments[-1]._obj.value = self.facts[fact]
            return 0

        return call

    @property
    def _nvmlDeviceGetNumGpuCores(self):
        return self._number("cores")

    @property
    def _nvmlDeviceGetMaxClockInfo(self):
        return self._number("clock")

    @property
    def _nvmlDeviceGetMemoryBusWidth(self):
        return self._number("width")

    @property
    def _nvmlDeviceGetTemperature(self):
        return self._number("temperature")

    @property
    def _nvmlDeviceGetTemperatureThreshold(self):
        return self._number("slowdown")

    @property
    def _nvmlDeviceGetCurrentClocksThrottleReasons(self):
        return self._number("reasons")

    def _nvmlDeviceGetCudaComputeCapability(self, device, major, minor):
        major._obj.value, minor._obj.value = self.facts["capability"]
        return 0


def opened(**facts):
    nvml = Nvml(Driver(**facts))
    assert nvml.open()
    return nvml


def test_device_is_described():
    gpu = opened().describe()
    assert gpu == ("NVIDIA H100 80GB HBM3", 85520809984, 132, 3350.0)


@pytest.mark.parametrize(
    ("name", "capability", "cores", "units", "bandwidth"),
    [
        (b"NVIDIA A100-SXM4-80GB", (8, 0), 6912, 108, 2039.0),
        (b"NVIDIA GeForce RTX 4090", (8, 9), 16384, 128, 1008.0),
        (b"NVIDIA GeForce RTX 5090", (12, 0), 21760, 170, 1792.0),
        (b"NVIDIA GeForce RTX 3090", (8, 6), 10496, 82, 936.0),
        (b"NVIDIA H200", (9, 0), 16896, 132, 4800.0),
        (b"NVIDIA L40S", (8, 9), 18176, 142, 864.0),
    ],
)
def test_known_devices(name, capability, cores, units, bandwidth):
    gpu = opened(name=name, capability=capability, cores=cores).describe()
    assert (gpu.units, gpu.bandwidth_gbs) == (units, bandwidth)


def test_unknown_device_has_the_bandwidth_of_its_clock_and_bus():
    gpu = opened(name=b"NVIDIA T4", clock=5001, width=256, capability=(7, 5), cores=2560).describe()
    assert gpu.bandwidth_gbs == pytest.approx(320.1)
    assert gpu.units == 40
    assert known_bandwidth("NVIDIA T4") == 0


@pytest.mark.parametrize(
    ("reasons", "temperature", "state"),
    [
        (0, 40, "nominal"),
        (0, 83, "fair"),
        (0x20, 40, "serious"),
        (0x40, 40, "critical"),
        (0x60, 90, "critical"),
        (0x4, 40, "nominal"),
    ],
)
def test_thermal_states(reasons, temperature, state):
    assert opened(reasons=reasons, temperature=temperature).thermal_state() == state


def test_driver_that_lacks_calls_says_nothing_wrong():
    old = ("nvmlDeviceGetNumGpuCores", "nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetMemoryBusWidth")
    nvml = opened(name=b"Old", missing=old)
    assert nvml.describe() == ("Old", 85520809984, 0, 0.0)
    assert nvml.thermal_state() == "nominal"
    assert not Nvml(Driver(missing=("nvmlInit_v2",))).open()
    assert not Nvml(Driver(init=9)).open()
    assert not Nvml(Driver(handle=6)).open()
    assert opened(memory_code=3).describe() is None
    assert opened(memory_code=3).free_memory() is None


def test_host_with_a_device_reports_it_and_its_heat(tmp_path):
    host = LinuxHost(tmp_path, gpu=opened(reasons=0x20))
    hardware = host.hardware()
    assert (hardware.chip_name, hardware.memory_gb, hardware.gpu_cores) == ("NVIDIA H100 80GB HBM3", 79, 132)
    assert hardware.memory_bandwidth_gbs == 3350.0
    assert hardware.memory_available_gb == 75.0
    assert host.thermal_state() == "serious"


def test_memory_of_the_device_is_what_models_may_take():
    memory = DeviceMemory(opened(), 85520809984)
    assert memory.physical() == 85520809984
    assert memory.available() == 84000000000
    assert DeviceMemory(opened(memory_code=3), 1).available() == 0


def test_device_counts_only_with_the_engine_for_it():
    def none(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert not uses_cuda(none)
    assert uses_cuda(lambda name: none(name) if name == "mlx-cuda" else object())


def test_structures_have_the_drivers_layout():
    from provider.host.nvidia import _Memory

    assert ctypes.sizeof(_Memory) == 24
