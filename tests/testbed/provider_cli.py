"""The command `darkbloom` as a user runs it: in a home of its own, with its output and exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provider.config.places import Places
from provider.status.pid_file import running_pid
from provider.status.record import DaemonState
from provider.status.state_file import read_state
from tests.testbed.processes import ROOT, environment

READY_SECONDS = 90.0


@dataclass(frozen=True)
class Said:
    """What one command printed, and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Read the standard output."""
        return json.loads(self.out)


class ProviderHome:
    """A home directory below `root`; `settings` are in the environment of every command."""

    def __init__(self, root: Path, settings: dict[str, str] | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.places = Places(root / "h")
        given = {"DARKBLOOM_HOME": str(self.places.home), "DARKBLOOM_DEV": "1", **(settings or {})}
        self.environment = environment(root, given)

    def run(self, *words: str, seconds: float = READY_SECONDS) -> Said:
        """Run one command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "provider.cli", *words],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def open(self, *words: str) -> subprocess.Popen[str]:
        """Start one command; its output goes to a file."""
        with (self.root / f"{words[0]}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "provider.cli", *words],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
            )

    def log(self, name: str) -> str:
        """What an opened command printed."""
        return (self.root / f"{name}.log").read_text()

    @property
    def pid(self) -> int | None:
        """The daemon that runs now."""
        return running_pid(self.places.pid_file)

    @property
    def state(self) -> DaemonState:
        """What the daemon says about itself; waits for its file."""
        until(lambda: read_state(self.places.state_file))
        found = read_state(self.places.state_file)
        assert found is not None
        return found

    def local(self) -> dict[str, Any]:
        """Where the local server is; waits for it."""
        until(self.places.local_file.exists)
        found: dict[str, Any] = json.loads(self.places.local_file.read_text())
        return found

    def kill_all(self) -> None:
        """End whatever of this home still runs; only processes that name the home in their environment."""
        mark = f"DARKBLOOM_HOME={self.places.home}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue


def until(condition: Callable[[], object], seconds: float = READY_SECONDS) -> None:
    """Wait for a condition in real time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
