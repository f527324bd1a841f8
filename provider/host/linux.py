"""Hardware and load of a Linux machine, read from /proc and /sys only."""

import os
import platform
from pathlib import Path
from typing import Final

from protocol.messages.from_provider import CpuCores, Hardware
from provider.host.chips import UNKNOWN
from provider.host.machine import CpuTicks
from provider.host.nvidia import GpuReader
from provider.host.thermal import STATES, thermal_state
from provider.memory.policy import GIB
from provider.memory.system import LinuxMemory

DEFAULT_BANDWIDTH_GBS: Final = 50.0
OPERATOR_GB: Final = 4.0
_ARCHITECTURES: Final = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64", "amd64": "x86_64"}
_KIB: Final = 1024


class LinuxHost:
    """`root` is where the system's own directories hang, so that tests can bring a recorded tree.

    With a `gpu` the engine computes there, and its memory is the one that counts.
    """

    def __init__(self, root: Path = Path("/"), *, machine: str | None = None, gpu: GpuReader | None = None) -> None:
        self._root = root
        self._gpu = gpu
        machine = (machine or platform.machine()).lower()
        self.platform = f"linux-{_ARCHITECTURES.get(machine, machine)}"

    def hardware(self) -> Hardware:
        """Describe the machine, by its graphics device where the engine computes on one."""
        cores = len(_values(self._text("proc/cpuinfo"), "processor")) or os.cpu_count() or 0
        gpu = self._gpu.describe() if self._gpu is not None else None
        memory_gb = (self._physical() if gpu is None else gpu.memory_bytes) // GIB
        return Hardware(
            machine_model=self._text("sys/class/dmi/id/product_name").strip() or "Linux",
            chip_name=self._chip_name() if gpu is None else gpu.name,
            chip_family=UNKNOWN,
            chip_tier=UNKNOWN,
            memory_gb=memory_gb,
            memory_available_gb=max(0.0, memory_gb - OPERATOR_GB),
            cpu_cores=CpuCores(total=cores, performance=cores, efficiency=0),
            gpu_cores=0 if gpu is None else gpu.units,
            memory_bandwidth_gbs=DEFAULT_BANDWIDTH_GBS if gpu is None else gpu.bandwidth_gbs,
        )

    def os_version(self) -> str:
        """Name the distribution, else the kernel."""
        for line in self._text("etc/os-release").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip().strip('"')
        return f"Linux {platform.release()}"

    def memory_pressure(self) -> float:
        """One less the available part of the memory."""
        total = _kilobytes(self._text("proc/meminfo"), "MemTotal")
        if total <= 0:
            return 0.0
        return min(1.0, max(0.0, 1 - _kilobytes(self._text("proc/meminfo"), "MemAvailable") / total))

    def cpu_ticks(self) -> CpuTicks | None:
        """Read the first line of /proc/stat; waiting for disks counts as idle, guests are inside user time."""
        fields = self._text("proc/stat").partition("\n")[0].split()
        if len(fields) < 5 or fields[0] != "cpu" or not all(field.isdigit() for field in fields[1:]):
            return None
        ticks = [int(field) for field in fields[1:9]]
        return CpuTicks(sum(ticks), ticks[3] + (ticks[4] if len(ticks) > 4 else 0))

    def thermal_state(self) -> str:
        """Judge the hottest zone against its own critical trip point, and the graphics device by its own word."""
        zones = thermal_state(self._hottest())
        return zones if self._gpu is None else max(zones, self._gpu.thermal_state(), key=STATES.index)

    def _hottest(self) -> float:
        worst = 0.0
        for zone in sorted((self._root / "sys/class/thermal").glob("thermal_zone*")):
            temperature = _number(_read(zone / "temp"))
            for trip in zone.glob("trip_point_*_type"):
                limit = _number(_read(zone / trip.name.replace("_type", "_temp")))
                if _read(trip).strip() == "critical" and limit > 0:
                    worst = max(worst, temperature / limit)
        return worst

    def _physical(self) -> int:
        try:
            return LinuxMemory(self._root).physical()
        except (OSError, ValueError):
            return 0

    def _chip_name(self) -> str:
        info = self._text("proc/cpuinfo")
        for name in ("model name", "Hardware", "Processor", "cpu model"):
            if found := _values(info, name):
                return found[0]
        return UNKNOWN

    def _text(self, path: str) -> str:
        return _read(self._root / path)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _values(text: str, name: str) -> list[str]:
    """Values of all `name : value` lines."""
    found = []
    for line in text.splitlines():
        key, mark, value = line.partition(":")
        if mark and key.strip() == name:
            found.append(value.strip())
    return found


def _kilobytes(text: str, name: str) -> int:
    values = _values(text, name)
    return int(_number(values[0].split()[0])) * _KIB if values and values[0] else 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
