"""Coordinators that many tests share: one process per kind of settings, started when first asked for.

Invariant: a test that uses a shared coordinator leaves it idle; `Coordinator.assert_quiet` says whether it did.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.testbed.coordinator import BASE_SETTINGS, Coordinator, serve_command
from tests.testbed.processes import READY_SECONDS, STOP_SECONDS, Child, NotReady, environment


class SharedCoordinators:
    """Coordinator processes by name; synchronous, because they outlive every event loop of a test run."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: dict[str, Coordinator] = {}

    def get(self, name: str, settings: Mapping[str, str]) -> Coordinator:
        """Give the coordinator of this name; starts it if there is none, or if the last one died."""
        found = self._running.get(name)
        if found is None or found.process.process.poll() is not None:
            found = self._running[name] = self._start(name, settings)
        return found

    def stop(self) -> None:
        """End all of them; one that does not obey is killed."""
        for running in self._running.values():
            running.process.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for running in self._running.values():
            process = running.process.process
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
            if isinstance(process, subprocess.Popen):
                process.wait()
        self._running.clear()

    def _start(self, name: str, settings: Mapping[str, str]) -> Coordinator:
        home = self._home / name
        home.mkdir(parents=True, exist_ok=True)
        ready_file, output = home / "ready", home / "output.log"
        ready_file.unlink(missing_ok=True)
        with output.open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, *serve_command(ready_file)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment(home, {**BASE_SETTINGS, **settings}),
                cwd=home,
            )
        running = Child(process, output)
        deadline = time.monotonic() + READY_SECONDS
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise NotReady(f"The shared coordinator {name} did not get ready:\n{running.text()[-4000:]}")
            time.sleep(0.01)
        return Coordinator(running, int(json.loads(ready_file.read_text())["port"]))
