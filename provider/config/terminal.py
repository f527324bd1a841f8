"""What the environment says about the terminal and about habits that are no settings of the daemon."""

import os
import sys
from collections.abc import Mapping
from typing import Final

NO_COLOR: Final = "NO_COLOR"
NO_UPDATE_CHECK: Final = "DARKBLOOM_NO_UPDATE_CHECK"
DESKTOP: Final = ("DISPLAY", "WAYLAND_DISPLAY")
REMOTE: Final = ("SSH_CONNECTION", "SSH_TTY")
NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG_MICROSECONDS: Final = "WATCHDOG_USEC"


def wants_color(environment: Mapping[str, str] | None = None) -> bool:
    """False when NO_COLOR is set to anything (no-color.org)."""
    return not _values(environment).get(NO_COLOR)


def wants_update_check(environment: Mapping[str, str] | None = None) -> bool:
    """False when DARKBLOOM_NO_UPDATE_CHECK is set."""
    return not _values(environment).get(NO_UPDATE_CHECK)


def has_desktop(environment: Mapping[str, str] | None = None) -> bool:
    """Whether a browser window would open before the eyes of whoever typed the command."""
    values = _values(environment)
    if any(values.get(name) for name in REMOTE):
        return False
    return sys.platform == "darwin" or any(values.get(name) for name in DESKTOP)


def notify_socket(environment: Mapping[str, str] | None = None) -> str:
    """Where systemd listens for a service's state; "" outside of it."""
    return _values(environment).get(NOTIFY_SOCKET, "")


def watchdog_seconds(environment: Mapping[str, str] | None = None) -> float:
    """How often systemd wants to hear that the service lives; 0 for never."""
    written = _values(environment).get(WATCHDOG_MICROSECONDS, "")
    return int(written) / 1e6 if written.isascii() and written.isdigit() else 0.0


def _values(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environment is None else environment
