"""What the daemon asks of a machine, whichever system it runs."""

import sys
from typing import NamedTuple, Protocol

from protocol.messages.from_provider import Hardware


class CpuTicks(NamedTuple):
    """Processor time since boot in ticks: all of it, and the part that did nothing."""

    total: int
    idle: int


class Host(Protocol):
    """All methods may block on files or a system tool: call them on a worker thread. None of them raises."""

    @property
    def platform(self) -> str:
        """`linux-x86_64`, `linux-arm64` or `macos-arm64`."""

    def hardware(self) -> Hardware:
        """Measure the hardware; what cannot be found reads `Unknown` or 0."""

    def os_version(self) -> str:
        """Name the system's version."""

    def memory_pressure(self) -> float:
        """Give the used part of the memory, 0 to 1."""

    def cpu_ticks(self) -> CpuTicks | None:
        """Read the processor's counters, or None where there are none."""

    def thermal_state(self) -> str:
        """Give `nominal`, `fair`, `serious` or `critical`; an unknown state is nominal."""


def detect_host() -> Host:
    """Choose the implementation for the running system."""
    if sys.platform == "darwin":
        from provider.host.macos import MacHost

        return MacHost()
    from provider.host.linux import LinuxHost
    from provider.host.nvidia import open_gpu

    return LinuxHost(gpu=open_gpu())
