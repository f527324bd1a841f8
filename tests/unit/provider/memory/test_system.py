import struct
import sys

import pytest

from provider.memory.system import LinuxMemory, available_pages, open_system_memory

MEMINFO = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    9000 kB\n"
KIB = 1024


def machine(root, *, group="/", files=None):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")
    for path, text in (files or {}).items():
        target = root / "sys/fs/cgroup" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return LinuxMemory(root)


def test_machine_without_control_groups(tmp_path):
    memory = machine(tmp_path)
    assert memory.physical() == 16000 * KIB
    assert memory.available() == 9000 * KIB


def test_smallest_group_limit_bounds_both(tmp_path):
    files = {
        "memory.max": "max\n",
        "box/memory.max": str(8000 * KIB),
        "box/memory.current": str(7000 * KIB),
        "box/memory.stat": f"anon 5\ninactive_file {500 * KIB}\n",
        "box/app/memory.max": "max\n",
    }
    memory = machine(tmp_path, group="/box/app", files=files)
    assert memory.physical() == 8000 * KIB
    assert memory.available() == 1500 * KIB


def test_group_over_its_limit_has_nothing_left(tmp_path):
    files = {"memory.max": str(10 * KIB), "memory.current": str(20 * KIB)}
    assert machine(tmp_path, files=files).available() == 0


def test_huge_limit_means_none(tmp_path):
    memory = machine(tmp_path, files={"memory.max": "9223372036854771712"})
    assert memory.physical() == 16000 * KIB


def test_missing_field_is_named(tmp_path):
    memory = machine(tmp_path)
    (tmp_path / "proc/meminfo").write_text("Other: 1 kB\n")
    with pytest.raises(ValueError, match="has no field MemTotal"):
        memory.physical()


def test_mac_counters_add_free_inactive_and_purgeable():
    counters = struct.pack("=4I9Q2I", 100, 1, 20, 2, *range(9), 3, 50).ljust(256, b"\0")
    assert available_pages(counters) == 123


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="no reader for this platform")
def test_this_machine_has_memory():
    memory = open_system_memory()
    assert 0 < memory.available() <= memory.physical()
