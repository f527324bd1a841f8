"""How much memory the machine has and how much is free, on Linux (with control groups) and macOS."""

import ctypes
import ctypes.util
import mmap
import struct
import sys
from pathlib import Path
from typing import Protocol

KIB = 1024
VM_INFO64_FLAVOUR = 4
VM_INFO64_WORDS = 64
UNLIMITED = 1 << 62


class SystemMemory(Protocol):
    """Readings in bytes; cheap enough for every admission, callable from any thread."""

    def physical(self) -> int:
        """Total memory that this process may ever use."""

    def available(self) -> int:
        """Memory that can be taken now without pushing others out."""


class DeviceReader(Protocol):
    """A graphics device's memory; see `provider.host.nvidia`."""

    def free_memory(self) -> int | None:
        """Bytes that are free, None when nobody can tell."""


def open_system_memory() -> SystemMemory:
    """Return the reader of this platform, or of the graphics device that the engine computes on."""
    if sys.platform == "darwin":
        return MacMemory()
    from provider.host.nvidia import open_gpu

    gpu = open_gpu()
    facts = None if gpu is None else gpu.describe()
    return LinuxMemory() if gpu is None or facts is None else DeviceMemory(gpu, facts.memory_bytes)


class DeviceMemory:
    """The memory of a graphics device: weights and caches live there; the machine's own is another pool."""

    def __init__(self, device: DeviceReader, total: int) -> None:
        self._device = device
        self._total = total

    def physical(self) -> int:
        """Total memory of the device."""
        return self._total

    def available(self) -> int:
        """Free memory of the device; a device that does not answer has none."""
        return self._device.free_memory() or 0


class LinuxMemory:
    """``/proc/meminfo``, bounded by every control group (version 2) that the process is in."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._meminfo = root / "proc/meminfo"
        self._groups = _control_groups(root)

    def physical(self) -> int:
        """Total memory, or the smallest group limit."""
        limits = [limit for group in self._groups if (limit := _read_limit(group)) is not None]
        return min([self._field("MemTotal"), *limits])

    def available(self) -> int:
        """Available memory, or what a group has left; a group's inactive file cache counts as free."""
        left = [self._field("MemAvailable")]
        for group in self._groups:
            limit = _read_limit(group)
            if limit is not None:
                left.append(max(0, limit - _read_number(group / "memory.current") + _inactive_file(group)))
        return min(left)

    def _field(self, name: str) -> int:
        for line in self._meminfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * KIB
        raise ValueError(f"{self._meminfo} has no field {name}; is this a Linux system?")


class MacMemory:
    """``hw.memsize`` and the Mach virtual-memory counters."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library("c") or "libSystem.dylib")
        self._host = self._library.mach_host_self()

    def physical(self) -> int:
        """Total memory."""
        value = ctypes.c_uint64()
        size = ctypes.c_size_t(ctypes.sizeof(value))
        if self._library.sysctlbyname(b"hw.memsize", ctypes.byref(value), ctypes.byref(size), None, 0) != 0:
            raise OSError("The system does not tell its memory size (hw.memsize); is this macOS?")
        return value.value

    def available(self) -> int:
        """Free, inactive, speculative and purgeable pages."""
        buffer = (ctypes.c_uint32 * VM_INFO64_WORDS)()
        count = ctypes.c_uint32(VM_INFO64_WORDS)
        if self._library.host_statistics64(self._host, VM_INFO64_FLAVOUR, buffer, ctypes.byref(count)) != 0:
            raise OSError("The system does not tell its memory counters (host_statistics64); is this macOS?")
        return available_pages(bytes(buffer)) * mmap.PAGESIZE


def available_pages(counters: bytes) -> int:
    """Pages that can be taken, from the bytes of ``vm_statistics64``.

    The free count there includes the speculative pages, unlike what ``vm_stat`` prints.
    """
    free, _active, inactive, _wired = struct.unpack_from("=4I", counters, 0)
    (purgeable,) = struct.unpack_from("=I", counters, 16 + 9 * 8)
    return int(free + inactive + purgeable)


def _control_groups(root: Path) -> list[Path]:
    """The process's own group and its ancestors, as far as they have a limit file."""
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    group = mount / own.lstrip("/")
    found: list[Path] = []
    while True:
        if (group / "memory.max").is_file():
            found.append(group)
        if group == mount or mount not in group.parents:
            break
        group = group.parent
    return found


def _read_limit(group: Path) -> int | None:
    try:
        text = (group / "memory.max").read_text().strip()
    except OSError:
        return None
    if not text.isdigit() or int(text) >= UNLIMITED:
        return None
    return int(text)


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _inactive_file(group: Path) -> int:
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
