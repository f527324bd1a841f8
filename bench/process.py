"""CPU time and memory of another process, exact enough for microseconds per chunk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time (user and system) that all threads of a live process used so far.

    On Linux from the scheduler's nanosecond counters, else from `ps`, whose resolution is 10 ms.
    """
    tasks = Path(f"/proc/{pid}/task")
    if tasks.exists():
        total = 0
        for task in tasks.iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue
        if total:
            return total / 1e9
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK
    return _cpu_from_ps(pid)


def _cpu_from_ps(pid: int) -> float:
    import subprocess

    text = subprocess.run(["ps", "-o", "cputime=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    seconds = 0.0
    for part in text.strip().replace("-", ":").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def resident_bytes(pid: int) -> int:
    """Return the resident set size of a process in bytes (Linux: private part from smaps when readable)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        for line in rollup.read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    import subprocess

    text = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(text) * (1024 if sys.platform != "win32" else 1)
