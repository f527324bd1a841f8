"""For how long nobody has touched this machine, as far as the system tells."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

TOOL_SECONDS: Final = 5.0
_HID_IDLE: Final = re.compile(r'"HIDIdleTime"\s*=\s*(\d+)')
_NANOSECONDS: Final = 1e9

RunTool = Callable[[Sequence[str]], str]
"""Runs a system tool and gives its output; "" when it is missing or fails."""


def run_tool(command: Sequence[str]) -> str:
    """Run a tool for at most five seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def user_idle_seconds(
    *, platform: str = sys.platform, run: RunTool = run_tool, wall_clock: Callable[[], float] = time.time
) -> float | None:
    """Give the seconds since the last key or pointer movement; None when nothing here can tell. Blocks."""
    if platform == "darwin":
        found = _HID_IDLE.search(run(["/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4"]))
        return int(found[1]) / _NANOSECONDS if found else None
    milliseconds = run(["xprintidle"]).strip()
    if milliseconds.isascii() and milliseconds.isdigit():
        return int(milliseconds) / 1000
    return _from_logind(run(["loginctl", "show-user", "--property=IdleHint", "--property=IdleSinceHint"]), wall_clock)


def _from_logind(answer: str, wall_clock: Callable[[], float]) -> float | None:
    facts = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
    if facts.get("IdleHint") == "no":
        return 0.0
    since = facts.get("IdleSinceHint", "")
    if facts.get("IdleHint") != "yes" or not since.isdigit():
        return None
    return max(0.0, wall_clock() - int(since) / 1e6)
