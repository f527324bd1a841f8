"""Child processes of the testbed: started with a clean environment, ready when they say so, ended for certain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 20.0
INHERITED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "DARKBLOOM_NATIVE", "VIRTUAL_ENV")


class NotReady(Exception):
    """A child ended or stayed silent instead of getting ready; the text holds the end of its output."""


@dataclass
class Child:
    """One running child process and its output file."""

    process: trio.Process | subprocess.Popen[bytes]
    output: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def text(self) -> str:
        """Everything that it printed so far."""
        return self.output.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; raises `trio.TooSlowError`."""
        with trio.fail_after(seconds):
            while (code := self.process.poll()) is None:
                await trio.sleep(0.005)
            return code


def environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Build a clean environment: a home of its own and only the named settings."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    paths = {
        "HOME": home,
        "XDG_DATA_HOME": home / "data",
        "XDG_CONFIG_HOME": home / "config",
        "XDG_CACHE_HOME": home / "cache",
    }
    return {
        **kept,
        **{name: str(path) for name, path in paths.items()},
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDEVMODE": "",
        "PYTHONWARNINGS": "default",
        **settings,
    }


@asynccontextmanager
async def child(
    command: Sequence[str], *, home: Path, settings: Mapping[str, str], name: str, stop: int = signal.SIGTERM
) -> AsyncIterator[Child]:
    """Run `python COMMAND…` for the length of the block; it is stopped with `stop`, and killed if it does not obey."""
    home.mkdir(parents=True, exist_ok=True)
    output = home / f"{name}.log"
    with output.open("ab") as sink:
        process = await trio.lowlevel.open_process(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment(home, settings),
            cwd=ROOT,
        )
    running = Child(process, output)
    try:
        yield running
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.send_signal(stop)
                with trio.move_on_after(STOP_SECONDS):
                    await process.wait()
            if process.poll() is None:
                process.kill()
                with trio.move_on_after(STOP_SECONDS):
                    await process.wait()


async def ready(running: Child, path: Path, seconds: float = READY_SECONDS) -> dict[str, Any]:
    """Wait until the child has written its ready file; gives the JSON in it."""
    with trio.move_on_after(seconds):
        while True:
            if running.process.poll() is not None:
                break
            if path.exists() and (text := path.read_text()).strip():
                content: dict[str, Any] = json.loads(text)
                return content
            await trio.sleep(0.02)
    state = f"exit {running.process.returncode}" if running.process.returncode is not None else "still silent"
    raise NotReady(f"{path.stem} did not get ready within {seconds:.0f} s ({state}):\n{running.text()[-4000:]}")
