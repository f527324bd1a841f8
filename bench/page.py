"""The page docs/benchmarks.md: tables of one run, with the machine and the date."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path


def machine() -> str:
    """Describe the machine in one line: processor, cores, memory, system, Python."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def render(tables: dict[str, str], descriptions: dict[str, str]) -> str:
    """Render the page; `tables` and `descriptions` are keyed by benchmark name."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} on {machine()}.",
        "",
        "Figures are CPU per unit of work on one core. Machines differ, and one machine drifts; what counts is the",
        "ratio to a floor or a peer that was measured in the same run.",
        "",
    ]
    for name, table in tables.items():
        lines += [f"## `python -m bench {name}`", "", descriptions[name], "", table.strip(), ""]
    return "\n".join(lines)
