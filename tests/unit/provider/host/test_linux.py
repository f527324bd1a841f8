"""A recorded Linux tree."""

import sys

import pytest

from provider.host.linux import LinuxHost
from provider.host.machine import CpuTicks

CPUINFO = "".join(f"processor\t: {n}\nmodel name\t: AMD EPYC 9654 96-Core Processor\n\n" for n in range(4))
MEMINFO = "MemTotal:       16777216 kB\nMemFree:  100 kB\nMemAvailable:    4194304 kB\n"


@pytest.fixture
def tree(tmp_path):
    def write(path, text):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    write("proc/cpuinfo", CPUINFO)
    write("proc/meminfo", MEMINFO)
    write("proc/stat", "cpu  100 5 50 800 45 0 0 0 7 0\ncpu0 1 2 3\n")
    write("etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    write("sys/class/dmi/id/product_name", "Super Server\n")
    return tmp_path, write


def test_hardware_is_read(tree):
    hardware = LinuxHost(tree[0], machine="x86_64").hardware()
    assert hardware.machine_model == "Super Server"
    assert hardware.chip_name == "AMD EPYC 9654 96-Core Processor"
    assert (hardware.chip_family, hardware.chip_tier) == ("Unknown", "Unknown")
    assert (hardware.memory_gb, hardware.memory_available_gb) == (16, 12.0)
    assert hardware.cpu_cores.total == hardware.cpu_cores.performance == 4
    assert (hardware.cpu_cores.efficiency, hardware.gpu_cores, hardware.memory_bandwidth_gbs) == (0, 0, 50)


@pytest.mark.parametrize(
    ("machine", "platform"), [("x86_64", "linux-x86_64"), ("aarch64", "linux-arm64"), ("AMD64", "linux-x86_64")]
)
def test_platform_names(machine, platform):
    assert LinuxHost(machine=machine).platform == platform


def test_load_is_read(tree):
    host = LinuxHost(tree[0])
    assert host.memory_pressure() == 0.75
    assert host.cpu_ticks() == CpuTicks(1000, 845)
    assert host.os_version() == "Debian GNU/Linux 12"


@pytest.mark.parametrize(
    ("temperature", "state"), [(79_000, "nominal"), (80_000, "fair"), (90_000, "serious"), (97_000, "critical")]
)
def test_the_hottest_zone_decides(tree, temperature, state):
    root, write = tree
    for zone, degrees in (("0", 30_000), ("1", temperature)):
        write(f"sys/class/thermal/thermal_zone{zone}/temp", f"{degrees}\n")
        write(f"sys/class/thermal/thermal_zone{zone}/trip_point_0_type", "passive\n")
        write(f"sys/class/thermal/thermal_zone{zone}/trip_point_0_temp", "1\n")
        write(f"sys/class/thermal/thermal_zone{zone}/trip_point_1_type", "critical\n")
        write(f"sys/class/thermal/thermal_zone{zone}/trip_point_1_temp", "100000\n")
    assert LinuxHost(root).thermal_state() == state


def test_an_empty_tree_is_unknown_and_quiet(tmp_path):
    host = LinuxHost(tmp_path)
    hardware = host.hardware()
    assert (hardware.machine_model, hardware.chip_name, hardware.memory_gb) == ("Linux", "Unknown", 0)
    assert host.memory_pressure() == 0.0
    assert host.cpu_ticks() is None
    assert host.thermal_state() == "nominal"


@pytest.mark.skipif(sys.platform != "linux", reason="reads this machine's own files")
def test_this_machine_is_readable():
    host = LinuxHost()
    assert host.hardware().memory_gb > 0
    assert host.cpu_ticks().total > 0
    assert 0 < host.memory_pressure() < 1
