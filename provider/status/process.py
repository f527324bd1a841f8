"""Whether a process is still the one that wrote its id down: ids are used again, start times are not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_START_FIELD: Final = 19
"""Of /proc/PID/stat, counted behind the name, which may hold spaces and parentheses: clock ticks since boot."""

_PS_SECONDS: Final = 5.0


def process_start(pid: int) -> str | None:
    """Give the kernel's start time of a process as an opaque text; None when there is no such process."""
    if sys.platform == "darwin":
        return _ps_start(pid)
    return _linux_start(pid)


def is_running(pid: int, start: str) -> bool:
    """Whether the process that was started then still runs; an empty `start` is not compared."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists and belongs to somebody else
    found = process_start(pid)
    return found is not None and (not start or found == start)


def _linux_start(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if len(fields) <= _START_FIELD or fields[0] in ("Z", "X"):
        return None
    return fields[_START_FIELD]


def _ps_start(pid: int) -> str | None:
    try:
        done = subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=_PS_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return " ".join(done.stdout.split()) or None
