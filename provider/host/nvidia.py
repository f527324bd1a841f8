"""NVIDIA devices through the driver's management library (NVML), where it is installed; no tool is run."""

import ctypes
import importlib.metadata
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

LIBRARY: Final = "libnvidia-ml.so.1"
CUDA_PACKAGES: Final = ("mlx-cuda", "mlx-cuda-12", "mlx-cuda-13")
"""Distributions that make the array library compute on NVIDIA devices."""

_NAME_BYTES: Final = 96
_CLOCK_MEMORY: Final = 2
_TEMPERATURE_GPU: Final = 0
_THRESHOLD_SLOWDOWN: Final = 1
_SLOW_SOFTWARE_HEAT: Final = 0x20
_SLOW_HARDWARE_HEAT: Final = 0x40
_CORES_PER_UNIT: Final = {(7, 0): 64, (7, 2): 64, (7, 5): 64, (8, 0): 64}
_USUAL_CORES_PER_UNIT: Final = 128
_BANDWIDTHS: Final = (
    ("H200", 4800.0),
    ("H100 PCIe", 2039.0),
    ("H100 NVL", 3938.0),
    ("H100", 3350.0),
    ("A100-SXM4-80GB", 2039.0),
    ("A100-PCIE-80GB", 2039.0),
    ("A100 80GB", 2039.0),
    ("L40S", 864.0),
    ("RTX 4090", 1008.0),
    ("RTX 5090", 1792.0),
    ("RTX 3090", 936.0),
)


class Gpu(NamedTuple):
    """What does not change: memory in bytes, streaming multiprocessors, GB/s."""

    name: str
    memory_bytes: int
    units: int
    bandwidth_gbs: float


class GpuReader(Protocol):
    """One device; nothing raises, what cannot be read is 0 or None."""

    def describe(self) -> Gpu | None:
        """Name the device."""

    def free_memory(self) -> int | None:
        """Bytes of its memory that are free."""

    def thermal_state(self) -> str:
        """Give its thermal state as the wire names it."""


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Nvml:
    """The first device that the driver shows. `library` stands for the driver in tests."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._device = ctypes.c_void_p()

    def open(self) -> bool:
        """Connect to the driver; False when it has no device."""
        library = self._library
        try:
            if library.nvmlInit_v2() != 0:
                return False
            return bool(library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(0), ctypes.byref(self._device)) == 0)
        except AttributeError:
            return False

    def describe(self) -> Gpu | None:
        """Name the device, its memory, its processors and its bandwidth."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        memory = _Memory()
        if self._call("nvmlDeviceGetName", name, ctypes.c_uint(_NAME_BYTES)) != 0:
            return None
        if self._call("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) != 0:
            return None
        text = name.value.decode("ascii", "replace")
        return Gpu(text, memory.total, self._units(), known_bandwidth(text) or self._bandwidth())

    def free_memory(self) -> int | None:
        """Bytes that are free now."""
        memory = _Memory()
        return int(memory.free) if self._call("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) == 0 else None

    def thermal_state(self) -> str:
        """Judge by what slows the device down; without that by its distance from the slow-down temperature."""
        reasons = ctypes.c_ulonglong()
        if self._call("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.byref(reasons)) != 0:
            return "nominal"
        if reasons.value & _SLOW_HARDWARE_HEAT:
            return "critical"
        if reasons.value & _SLOW_SOFTWARE_HEAT:
            return "serious"
        now = self._number("nvmlDeviceGetTemperature", ctypes.c_uint(_TEMPERATURE_GPU))
        limit = self._number("nvmlDeviceGetTemperatureThreshold", ctypes.c_uint(_THRESHOLD_SLOWDOWN))
        return "fair" if limit and now / limit >= 0.9 else "nominal"

    def _units(self) -> int:
        major, minor = ctypes.c_int(), ctypes.c_int()
        cores = self._number("nvmlDeviceGetNumGpuCores")
        if self._call("nvmlDeviceGetCudaComputeCapability", ctypes.byref(major), ctypes.byref(minor)) != 0:
            return 0
        return cores // _CORES_PER_UNIT.get((major.value, minor.value), _USUAL_CORES_PER_UNIT)

    def _bandwidth(self) -> float:
        """Twice the memory clock (MHz) times the bus width (bits), in GB/s."""
        clock = self._number("nvmlDeviceGetMaxClockInfo", ctypes.c_uint(_CLOCK_MEMORY))
        width = self._number("nvmlDeviceGetMemoryBusWidth")
        return round(2 * clock * 1e6 * width / 8 / 1e9, 1)

    def _number(self, function: str, *arguments: object) -> int:
        value = ctypes.c_uint()
        return int(value.value) if self._call(function, *arguments, ctypes.byref(value)) == 0 else 0

    def _call(self, function: str, *arguments: object) -> int:
        try:
            return int(getattr(self._library, function)(self._device, *arguments))
        except AttributeError:
            return -1


def known_bandwidth(name: str) -> float:
    """Give the bandwidth of a well-known device in GB/s, else 0."""
    return next((bandwidth for part, bandwidth in _BANDWIDTHS if part.lower() in name.lower()), 0.0)


def uses_cuda(packages: Callable[[str], object] = importlib.metadata.distribution) -> bool:
    """Whether the array library is installed with its CUDA part."""
    for name in CUDA_PACKAGES:
        try:
            packages(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


def open_gpu() -> GpuReader | None:
    """Find the device that the engine computes on; None where it computes on the processor."""
    if not uses_cuda():
        return None
    try:
        nvml = Nvml(ctypes.CDLL(LIBRARY))
    except OSError:
        return None
    return nvml if nvml.open() else None
