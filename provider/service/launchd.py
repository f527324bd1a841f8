"""Two agents of launchd: the provider, and one that looks every minute whether it has crashed.

Source: launchd.plist(5), launchctl(1); provider rules, macOS service.
"""

import os
import plistlib
from pathlib import Path
from typing import Final

from provider.service.manager import RunTool, ServiceFailed, must, run_tool
from provider.service.spec import ServiceSpec

LABEL: Final = "io.darkbloom.provider"
WATCHDOG_LABEL: Final = "io.darkbloom.watchdog"
STOP_SECONDS: Final = 3660
LOOK_SECONDS: Final = 60


class Launchd:
    """A `ServiceManager`. `agents` is `~/Library/LaunchAgents`."""

    kind: Final = "launchd"
    hint: Final = ""

    def __init__(self, agents: Path, *, run: RunTool = run_tool, uid: int | None = None) -> None:
        self._agents = agents
        self._run = run
        self._domain = f"gui/{os.getuid() if uid is None else uid}"

    def install(self, spec: ServiceSpec) -> None:
        """See `ServiceManager`."""
        self._bootout()
        try:
            self._agents.mkdir(parents=True, exist_ok=True)
            self._file(LABEL).write_bytes(render_provider(spec))
            self._file(WATCHDOG_LABEL).write_bytes(render_watchdog(spec))
        except OSError as error:
            raise ServiceFailed(f"{self._agents} cannot be written ({error.strerror}).") from None

    def start(self, spec: ServiceSpec) -> None:
        """See `ServiceManager`."""
        self._bootout()
        must(self._run, ["launchctl", "bootstrap", self._domain, str(self._file(LABEL))])
        if spec.restart:
            must(self._run, ["launchctl", "bootstrap", self._domain, str(self._file(WATCHDOG_LABEL))])

    def disarm(self) -> None:
        """See `ServiceManager`: without its watchdog the provider stays down."""
        self._run(["launchctl", "bootout", f"{self._domain}/{WATCHDOG_LABEL}"])

    def end(self) -> None:
        """See `ServiceManager`."""
        self._bootout()

    def uninstall(self) -> None:
        """See `ServiceManager`."""
        self._bootout()
        for label in (LABEL, WATCHDOG_LABEL):
            self._file(label).unlink(missing_ok=True)

    def kickstart(self) -> None:
        """Start the loaded job again."""
        must(self._run, ["launchctl", "kickstart", f"{self._domain}/{LABEL}"])

    def is_loaded(self) -> bool:
        """Whether the job is known to launchd; a job that is not was stopped by the user."""
        return self._run(["launchctl", "print", f"{self._domain}/{LABEL}"]).status == 0

    def _bootout(self) -> None:
        for label in (WATCHDOG_LABEL, LABEL):
            self._run(["launchctl", "bootout", f"{self._domain}/{label}"])

    def _file(self, label: str) -> Path:
        return self._agents / f"{label}.plist"


def render_provider(spec: ServiceSpec) -> bytes:
    """Write the provider's property list."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(spec.command),
            "EnvironmentVariables": dict(spec.environment),
            "RunAtLoad": True,
            "KeepAlive": False,
            "ProcessType": "Interactive",
            "ExitTimeOut": STOP_SECONDS,
            "StandardOutPath": str(spec.output_file),
            "StandardErrorPath": str(spec.output_file),
            "WorkingDirectory": str(spec.home),
        }
    )


def render_watchdog(spec: ServiceSpec) -> bytes:
    """Write the watchdog's property list."""
    return plistlib.dumps(
        {
            "Label": WATCHDOG_LABEL,
            "ProgramArguments": [*spec.program, "watchdog"],
            "EnvironmentVariables": dict(spec.environment),
            "RunAtLoad": True,
            "StartInterval": LOOK_SECONDS,
            "ProcessType": "Background",
            "StandardOutPath": str(spec.output_file),
            "StandardErrorPath": str(spec.output_file),
        }
    )
