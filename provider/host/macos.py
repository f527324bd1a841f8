"""Hardware and load of a Mac: system tools for what never changes, the Mach interface for what does."""

import ctypes
import ctypes.util
import json
import platform
import struct
import subprocess
from collections.abc import Callable, Mapping
from typing import Final, cast

from protocol.messages.from_provider import CpuCores, Hardware
from provider.host.chips import UNKNOWN, bandwidth_gbs, parse_chip
from provider.host.machine import CpuTicks
from provider.host.thermal import STATES
from provider.memory.policy import GIB

OPERATOR_GB: Final = 4.0
TOOL_SECONDS: Final = 20.0
SYSCTL_NAMES: Final = (
    "hw.model",
    "hw.memsize",
    "hw.ncpu",
    "hw.perflevel0.logicalcpu",
    "hw.perflevel1.logicalcpu",
    "machdep.cpu.brand_string",
)
_HOST_CPU_LOAD_INFO: Final = 3
_HOST_VM_INFO64: Final = 4
_VM_INFO64_WORDS: Final = 38
_CPU_STATES: Final = 4
_CPU_IDLE: Final = 2

Run = Callable[[list[str]], str]


def run_tool(command: list[str]) -> str:
    """Run a system tool and give its output; empty when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


class MacHost:
    """`run` runs a system tool, so that tests can bring recorded outputs."""

    def __init__(self, run: Run = run_tool) -> None:
        self._run = run
        self.platform = "macos-arm64"
        self._library: ctypes.CDLL | None = None

    def hardware(self) -> Hardware:
        """Describe the machine from `sysctl` and `system_profiler`."""
        facts = parse_sysctl(self._run(["/usr/sbin/sysctl", *SYSCTL_NAMES]))
        chip_name, gpu_cores = parse_displays(self._run(["/usr/sbin/system_profiler", "SPDisplaysDataType", "-json"]))
        chip_name = chip_name or facts.get("machdep.cpu.brand_string", "") or UNKNOWN
        chip = parse_chip(chip_name)
        memory_gb = _whole(facts, "hw.memsize") // GIB
        total = _whole(facts, "hw.ncpu")
        return Hardware(
            machine_model=facts.get("hw.model", "") or UNKNOWN,
            chip_name=chip_name,
            chip_family=chip.family,
            chip_tier=chip.tier,
            memory_gb=memory_gb,
            memory_available_gb=max(0.0, memory_gb - OPERATOR_GB),
            cpu_cores=CpuCores(
                total=total,
                performance=_whole(facts, "hw.perflevel0.logicalcpu") or total,
                efficiency=_whole(facts, "hw.perflevel1.logicalcpu"),
            ),
            gpu_cores=gpu_cores,
            memory_bandwidth_gbs=bandwidth_gbs(chip, gpu_cores),
        )

    def os_version(self) -> str:
        """Name the system's version."""
        return platform.mac_ver()[0]

    def memory_pressure(self) -> float:
        """Active, wired and compressed pages against all that are in use or reclaimable."""
        counters = self._statistics("host_statistics64", _HOST_VM_INFO64, _VM_INFO64_WORDS)
        return 0.0 if counters is None else pressure_of(counters)

    def cpu_ticks(self) -> CpuTicks | None:
        """Read the processor's counters from the kernel."""
        counters = self._statistics("host_statistics", _HOST_CPU_LOAD_INFO, _CPU_STATES)
        if counters is None:
            return None
        ticks = struct.unpack(f"={_CPU_STATES}I", counters)
        return CpuTicks(sum(ticks), ticks[_CPU_IDLE])

    def thermal_state(self) -> str:
        """Ask the process information of the system frameworks."""
        try:
            return STATES[_process_thermal_state()]
        except (OSError, AttributeError, IndexError):
            return STATES[0]

    def _statistics(self, function: str, flavour: int, words: int) -> bytes | None:
        if self._library is None:
            self._library = ctypes.CDLL(ctypes.util.find_library("c") or "libSystem.dylib")
        buffer = (ctypes.c_uint32 * words)()
        count = ctypes.c_uint32(words)
        host = self._library.mach_host_self()
        if getattr(self._library, function)(host, flavour, buffer, ctypes.byref(count)) != 0:
            return None
        return bytes(buffer)


def parse_sysctl(output: str) -> dict[str, str]:
    """Read `name: value` lines; names that this machine lacks are absent."""
    found: dict[str, str] = {}
    for line in output.splitlines():
        name, mark, value = line.partition(":")
        if mark and value.strip():
            found[name.strip()] = value.strip()
    return found


def parse_displays(output: str) -> tuple[str, int]:
    """Give (chip name, GPU cores) from the JSON of `system_profiler SPDisplaysDataType`; ("", 0) when it has none."""
    try:
        displays = json.loads(output)["SPDisplaysDataType"]
    except (ValueError, KeyError, TypeError):
        return "", 0
    for display in displays if isinstance(displays, list) else []:
        if not isinstance(display, dict):
            continue
        entry = cast(Mapping[str, object], display)
        name, cores = str(entry.get("sppci_model", "")), str(entry.get("sppci_cores", ""))
        if name:
            return name, int(cores) if cores.isdigit() else 0
    return "", 0


def pressure_of(counters: bytes) -> float:
    """Memory pressure from the bytes of ``vm_statistics64``.

    The free count there includes the speculative pages, so these are not added again.
    """
    free, active, inactive, wired = struct.unpack_from("=4I", counters, 0)
    (compressed,) = struct.unpack_from("=I", counters, 128)
    used = active + wired + compressed
    everything = used + inactive + free
    return used / everything if everything else 0.0


def _process_thermal_state() -> int:
    """`[[NSProcessInfo processInfo] thermalState]` through the Objective-C runtime."""
    runtime = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
    ctypes.CDLL("/System/Library/Frameworks/Foundation.framework/Foundation")
    runtime.objc_getClass.restype = ctypes.c_void_p
    runtime.sel_registerName.restype = ctypes.c_void_p
    address = ctypes.cast(runtime.objc_msgSend, ctypes.c_void_p).value
    assert address is not None
    send_object = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(address)
    send_number = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)(address)
    process_information = send_object(runtime.objc_getClass(b"NSProcessInfo"), runtime.sel_registerName(b"processInfo"))
    return int(send_number(process_information, runtime.sel_registerName(b"thermalState")))


def _whole(facts: Mapping[str, str], name: str) -> int:
    value = facts.get(name, "")
    return int(value) if value.isdigit() else 0
