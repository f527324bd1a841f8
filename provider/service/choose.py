"""Which service manager this machine has for this user."""

import sys
from pathlib import Path

from provider.service.background import Background
from provider.service.launchd import Launchd
from provider.service.manager import RunTool, ServiceManager, run_tool
from provider.service.systemd import Systemd


def choose_manager(config_home: Path, *, platform: str = sys.platform, run: RunTool = run_tool) -> ServiceManager:
    """Choose launchd on macOS, systemd where one of this user answers, else a plain background process."""
    if platform == "darwin":
        return Launchd(Path("~/Library/LaunchAgents").expanduser(), run=run)
    if Systemd.is_usable(run):
        return Systemd(config_home, run=run)
    return Background()


def manager_of(kind: str, config_home: Path, *, run: RunTool = run_tool) -> ServiceManager:
    """Give the manager that a service was installed with."""
    if kind == "launchd":
        return Launchd(Path("~/Library/LaunchAgents").expanduser(), run=run)
    if kind == "systemd":
        return Systemd(config_home, run=run)
    return Background()
