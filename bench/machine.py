"""What the benchmarks ran on: the machine in words, and how fast it was at that moment.

A shared machine may be three times slower in one hour than in another, its memory more than its processor. Two figures
beside every table tell such hours apart: an iteration of an empty loop, and a read from a random place in 64 MiB.
"""

from __future__ import annotations

import array
import os
import platform
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ITERATIONS: Final = 300_000
_READS: Final = 100_000
_WORDS: Final = 8 * 1024 * 1024
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """Nanoseconds of one core, each the median of three tries."""

    loop_ns: float
    random_read_ns: float

    def __str__(self) -> str:
        return f"an empty loop took {self.loop_ns:.0f} ns an iteration, a random read {self.random_read_ns:.0f} ns"


def pace() -> Pace:
    """Measure how fast the machine is now; takes about half a second."""
    memory = array.array("q", bytes(8 * _WORDS))
    places = random.Random(1).choices(range(_WORDS), k=_READS)
    loops, reads = [], []
    for _ in range(_TRIES):
        started = time.perf_counter_ns()
        for _ in range(_ITERATIONS):
            pass
        between = time.perf_counter_ns()
        for place in places:
            memory[place]
        loops.append((between - started) / _ITERATIONS)
        reads.append((time.perf_counter_ns() - between) / _READS)
        random.Random(len(reads)).shuffle(places)
    return Pace(sorted(loops)[_TRIES // 2], sorted(reads)[_TRIES // 2])


def description() -> str:
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
