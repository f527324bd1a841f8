"""The child processes of `darkbloom dev`: started, watched, and ended together.

A child's standard input is a pipe that the parent holds; when the parent dies in any way, the pipe ends and the child
stops by itself.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from provider.cli.exits import CommandFailed
from provider.config.child_environment import child_environment

STOP_SECONDS: Final = 15.0
LAST_LINES: Final = 12
PREFERRED_PORT: Final = 8080
POLL_SECONDS: Final = 0.02
PACKAGES: Final = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Child:
    """One running child process with the file that takes its output."""

    name: str
    process: trio.Process
    log: Path
    is_stopping: bool = False

    def last_words(self) -> str:
        """Give the end of its output."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-LAST_LINES:])

    async def ended(self) -> None:
        """Wait for its end; raises `CommandFailed` unless `stop` asked for it."""
        code = await self.process.wait()
        if self.is_stopping:
            return
        raise CommandFailed(
            f"The {self.name} ended with exit status {code}. The end of its log:\n{self.last_words()}",
            fix=f"see {self.log}",
        )

    async def stop(self) -> None:
        """End it: first politely, then for certain."""
        if self.process.poll() is None:
            self.is_stopping = True
            self.process.send_signal(signal.SIGTERM)
            with trio.move_on_after(STOP_SECONDS):
                await self.process.wait()
        if self.process.poll() is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def child(
    name: str, module: str, arguments: Sequence[str], *, settings: Mapping[str, str], log: Path
) -> AsyncIterator[Child]:
    """Run `python -m MODULE ARGUMENTS…` for the length of the block, with `settings` added to the environment.

    It runs where our packages lie: Python searches the working directory first, and the user's may hold a `server`.
    Raises `CommandFailed` when the log cannot be written.
    """
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CommandFailed(f"The log {log} cannot be written ({error.strerror}).", fix=f"rm {log}") from None
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            env=child_environment(settings),
            cwd=PACKAGES,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    running = Child(name, process, log)
    try:
        yield running
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_SECONDS + 5):
            await running.stop()


async def said_ready(ready_file: Path) -> None:
    """Wait until the coordinator has written its ready file."""
    while not ready_file.exists():
        await trio.sleep(POLL_SECONDS)


def choose_port(wanted: int | None) -> int:
    """Choose the API port: the wanted one, else 8080 if it is free, else any free one (also for 0).

    Raises `CommandFailed` when the wanted port is taken.
    """
    for candidate in (PREFERRED_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    if wanted:
        raise CommandFailed(
            f"Port {wanted} on 127.0.0.1 cannot be used; it may be taken.", fix="darkbloom dev --port 0"
        )
    raise CommandFailed("There is no free port on 127.0.0.1.")
