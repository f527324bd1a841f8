"""A user unit of systemd.

Source: systemd.service(5), systemd.unit(5); provider rules, Linux service.
"""

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from provider.service.manager import RunTool, ServiceFailed, must, run_tool
from provider.service.spec import ServiceSpec

UNIT: Final = "darkbloom-provider.service"
STOP_SECONDS: Final = 3660


class Systemd:
    """A `ServiceManager`. `config_home` is where the user's units live."""

    kind: Final = "systemd"

    def __init__(self, config_home: Path, *, run: RunTool = run_tool) -> None:
        self._unit_file = config_home / "systemd" / "user" / UNIT
        self._run = run

    @staticmethod
    def is_usable(run: RunTool = run_tool) -> bool:
        """Whether a systemd of this user answers; not in containers, nor in the shell of another user."""
        return run(["systemctl", "--user", "show-environment"]).status == 0

    @property
    def hint(self) -> str:
        """Services of a user end with the last session unless the user lingers."""
        found = self._run(["loginctl", "show-user", getpass.getuser(), "--property=Linger", "--value"])
        if found.status == 0 and found.output.strip() == "no":
            return "The service ends when you log out; `loginctl enable-linger` keeps it."
        return ""

    def install(self, spec: ServiceSpec) -> None:
        """See `ServiceManager`."""
        try:
            self._unit_file.parent.mkdir(parents=True, exist_ok=True)
            self._unit_file.write_text(render_unit(spec), encoding="utf-8")
        except OSError as error:
            raise ServiceFailed(f"{self._unit_file} cannot be written ({error.strerror}).") from None
        must(self._run, ["systemctl", "--user", "daemon-reload"])
        must(self._run, ["systemctl", "--user", "enable", UNIT])

    def start(self, spec: ServiceSpec) -> None:
        """See `ServiceManager`."""
        self._run(["systemctl", "--user", "reset-failed", UNIT])
        must(self._run, ["systemctl", "--user", "start", "--no-block", UNIT])

    def disarm(self) -> None:
        """An exit status of 0 is not restarted; there is nothing to do."""

    def end(self) -> None:
        """See `ServiceManager`."""
        self._run(["systemctl", "--user", "stop", UNIT])

    def uninstall(self) -> None:
        """See `ServiceManager`."""
        self._run(["systemctl", "--user", "disable", "--now", UNIT])
        self._unit_file.unlink(missing_ok=True)
        self._run(["systemctl", "--user", "daemon-reload"])


def render_unit(spec: ServiceSpec) -> str:
    """Write the unit file."""
    lines = [
        "[Unit]",
        "Description=Darkbloom provider: private AI inference on this computer",
        "After=network-online.target",
        "StartLimitIntervalSec=900",
        "StartLimitBurst=3",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={' '.join(quote(word) for word in spec.command)}",
        *_environment_lines(spec.environment),
        f"Restart={'on-failure' if spec.restart else 'no'}",
        "RestartSec=10",
        "RestartPreventExitStatus=2 64",
        "TimeoutStartSec=600",
        f"TimeoutStopSec={STOP_SECONDS}",
        "KillMode=mixed",
        "WatchdogSec=120",
        "LimitCORE=0",
        "NoNewPrivileges=yes",
        f"StandardOutput=append:{spec.output_file}",
        f"StandardError=append:{spec.output_file}",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _environment_lines(environment: Mapping[str, str]) -> list[str]:
    return [f"Environment={quote(f'{name}={value}')}" for name, value in sorted(environment.items())]


def quote(word: str) -> str:
    """Quote a word as unit files want it: specifiers and variables stay plain text."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    escaped = escaped.replace("\n", "\\n")
    return f'"{escaped}"' if not escaped or any(mark in escaped for mark in " \t'\"\\;") else escaped
