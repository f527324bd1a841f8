"""Starting the processes of a benchmark and waiting until they are ready."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.testbed.coordinator import BASE_SETTINGS
from tests.testbed.processes import environment

READY_SECONDS = 90.0


def wait_for_file(path: Path, process: subprocess.Popen[Any], seconds: float = READY_SECONDS) -> dict[str, Any]:
    """Wait until the process has written its ready file; raises `RuntimeError` when it ends or stays silent."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{path.name}: the process ended with exit status {process.returncode}.")
        if path.exists() and (text := path.read_text()).strip():
            content: dict[str, Any] = json.loads(text)
            return content
        time.sleep(0.02)
    raise RuntimeError(f"{path.name}: not ready after {seconds:.0f} s.")


@contextmanager
def running(
    command: list[str], *, work: Path, settings: Mapping[str, str], **pipes: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run `python COMMAND…` for the length of the block."""
    log = (work / f"{command[1].replace('.', '-')}.log").open("ab")
    with log:
        pipes.setdefault("stdout", log)
        process = subprocess.Popen(
            [sys.executable, *command], env=environment(work, settings), text=True, stderr=log, cwd=work, **pipes
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def coordinator(work: Path, settings: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a real coordinator; gives the process and its port."""
    ready = work / "coordinator.ready"
    ready.unlink(missing_ok=True)
    command = ["-m", "server.cli", "serve", "--host", "127.0.0.1", "--port", "0", "--ready-file", str(ready)]
    with running(command, work=work, settings={**BASE_SETTINGS, **(settings or {})}) as process:
        yield process, int(wait_for_file(ready, process)["port"])


@contextmanager
def naive(work: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the naive relay; gives the process and its port."""
    ready = work / "naive.ready"
    ready.unlink(missing_ok=True)
    with running(["-m", "bench.naive", "--ready-file", str(ready)], work=work, settings={}) as process:
        yield process, int(wait_for_file(ready, process)["port"])
