"""A machine that is always the same: memory, allocator, hardware and posture for tests above them."""

from protocol.messages.from_provider import CpuCores, Hardware
from provider.hardening import Hardening
from provider.host.machine import CpuTicks
from provider.identity import MachinePosture
from provider.memory.gate import MemoryGate
from provider.memory.policy import GIB


class FixedMemory:
    """Plenty of memory, or as much as a test says."""

    def __init__(self, physical: int = 64 * GIB) -> None:
        self.total = physical
        self.free = physical

    def physical(self) -> int:
        return self.total

    def available(self) -> int:
        return self.free


class EmptyAllocator:
    """Nothing is ever allocated."""

    def active(self) -> int:
        return 0

    def cached(self) -> int:
        return 0

    def peak(self) -> int:
        return 0

    def clear_cache(self) -> None:
        return None

    def set_limits(self, memory: int, cache: int) -> None:
        return None


def roomy_gate() -> MemoryGate:
    """A gate that lets every test model in."""
    return MemoryGate(FixedMemory(), EmptyAllocator())


class FakeHost:
    """A quiet Linux box."""

    platform = "linux-x86_64"

    def __init__(self) -> None:
        self.readings = 0
        self.ticks = CpuTicks(1000, 900)
        self.pressure = 0.25
        self.state = "nominal"

    def hardware(self) -> Hardware:
        return Hardware(
            machine_model="Test Box",
            chip_name="Test Chip",
            chip_family="Unknown",
            chip_tier="Unknown",
            memory_gb=64,
            memory_available_gb=60.0,
            cpu_cores=CpuCores(total=8, performance=8, efficiency=0),
            gpu_cores=0,
            memory_bandwidth_gbs=50.0,
        )

    def os_version(self) -> str:
        return "Test OS 1"

    def memory_pressure(self) -> float:
        self.readings += 1
        return self.pressure

    def cpu_ticks(self) -> CpuTicks | None:
        return self.ticks

    def thermal_state(self) -> str:
        return self.state


class FakePosture:
    """An ordinary Linux box without lockdown."""

    def __init__(self, posture: MachinePosture | None = None) -> None:
        self.posture = posture or MachinePosture(False, False, False, True)
        self.reads = 0

    def read(self) -> MachinePosture:
        self.reads += 1
        return self.posture


def hardened() -> Hardening:
    """All protections in effect, without touching the test process."""
    return Hardening(
        core_dumps_disabled=True,
        anti_debug_enabled=True,
        no_new_privileges=True,
        env_scrubbed=True,
        isolated_interpreter=False,
        problems=(),
    )
