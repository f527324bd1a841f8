"""What the commands ask of a service manager, and how system tools are run."""

import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from provider.service.spec import ServiceSpec

TOOL_SECONDS = 30.0


class ToolResult(NamedTuple):
    """Exit status and output of a tool; status 127 when it is not there, 124 when it took too long."""

    status: int
    output: str


class RunTool(Protocol):
    """Runs a tool to its end."""

    def __call__(self, command: Sequence[str]) -> ToolResult:
        """Give status and output; never raises."""


class ServiceFailed(Exception):
    """The service manager refused; the text names the tool and its words."""


class ServiceManager(Protocol):
    """All methods block; they raise `ServiceFailed`."""

    @property
    def kind(self) -> str:
        """`systemd`, `launchd` or `background`."""

    @property
    def hint(self) -> str:
        """What the user should know, or ""."""

    def install(self, spec: ServiceSpec) -> None:
        """Write down what is to run; does not start it. An older installation is replaced."""

    def start(self, spec: ServiceSpec) -> None:
        """Start it."""

    def disarm(self) -> None:
        """Keep it from starting again by itself; what runs goes on."""

    def end(self) -> None:
        """After the daemon has ended: take the rest of the service down."""

    def uninstall(self) -> None:
        """Remove every trace."""


def run_tool(command: Sequence[str]) -> ToolResult:
    """Run a system tool for at most thirty seconds."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TOOL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ToolResult(124, f"{command[0]} did not end within {TOOL_SECONDS:g} s")
    except OSError as error:
        return ToolResult(127, f"{command[0]}: {error.strerror}")
    return ToolResult(done.returncode, done.stdout.strip())


def must(run: RunTool, command: Sequence[str]) -> str:
    """Run a tool that has to succeed; raises `ServiceFailed`."""
    status, output = run(command)
    if status != 0:
        last = output.splitlines()[-1] if output else "no output"
        raise ServiceFailed(f"`{' '.join(command)}` failed with status {status}: {last}")
    return output
