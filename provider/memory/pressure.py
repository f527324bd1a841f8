"""How short of memory the whole machine is, as the system judges it; Linux and macOS.

Source: provider rules, memory policy, pressure.
"""

import ctypes
import ctypes.util
import enum
import sys
from pathlib import Path
from typing import Final, Protocol

from provider.memory.system import SystemMemory

WARNING_STALL_PERCENT: Final = 10.0
"""Share of the last ten seconds in which some task waited for memory."""

WARNING_FREE_FRACTION: Final = 0.10
CRITICAL_FREE_FRACTION: Final = 0.05
STALL_FILE: Final = "proc/pressure/memory"
MAC_LEVEL: Final = b"kern.memorystatus_vm_pressure_level"
MAC_WARNING: Final = 2
MAC_CRITICAL: Final = 4


class Pressure(enum.IntEnum):
    """Levels in rising order."""

    NONE = 0
    WARNING = 1
    CRITICAL = 2


class PressureReader(Protocol):
    """Cheap enough for every second."""

    def level(self) -> Pressure:
        """Judge the machine now; what cannot be read counts as no pressure."""


def open_pressure(system: SystemMemory) -> PressureReader:
    """Return the reader of this platform."""
    return MacPressure() if sys.platform == "darwin" else LinuxPressure(system)


class LinuxPressure:
    """Pressure-stall information, and the free part of the memory that this process may use."""

    def __init__(self, system: SystemMemory, root: Path = Path("/")) -> None:
        self._system = system
        self._file = root / STALL_FILE
        self._physical = system.physical()

    def level(self) -> Pressure:
        """Critical when memory is nearly gone, warning when it is short or tasks stall over it."""
        try:
            free = self._system.available() / self._physical if self._physical else 1.0
        except (OSError, ValueError):
            return Pressure.NONE
        if free < CRITICAL_FREE_FRACTION:
            return Pressure.CRITICAL
        stalled = free < WARNING_FREE_FRACTION or self._stall_percent() > WARNING_STALL_PERCENT
        return Pressure.WARNING if stalled else Pressure.NONE

    def _stall_percent(self) -> float:
        """`some avg10`; 0 on kernels that do not tell."""
        try:
            first = self._file.read_text().split("\n", 1)[0].split()
            fields = dict(field.split("=", 1) for field in first[1:])
            return float(fields["avg10"]) if first[0] == "some" else 0.0
        except (OSError, ValueError, KeyError, IndexError):
            return 0.0


class MacPressure:
    """The kernel's own level."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library("c") or "libSystem.dylib")

    def level(self) -> Pressure:
        """Read the level of the virtual memory system."""
        value = ctypes.c_int()
        size = ctypes.c_size_t(ctypes.sizeof(value))
        if self._library.sysctlbyname(MAC_LEVEL, ctypes.byref(value), ctypes.byref(size), None, 0) != 0:
            return Pressure.NONE
        return mac_level(value.value)


def mac_level(number: int) -> Pressure:
    """Translate the kernel's number: 1 normal, 2 warning, 4 critical."""
    if number >= MAC_CRITICAL:
        return Pressure.CRITICAL
    return Pressure.WARNING if number >= MAC_WARNING else Pressure.NONE
