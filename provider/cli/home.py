"""The home of the provider that a command is about, and the sentences of its failures."""

from pathlib import Path
from typing import TYPE_CHECKING

from provider.cli.exits import CommandFailed
from provider.cli.session import configured

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.control import Answer, Order
    from provider.service.life import Home

LAST_LINES = 12


def open_home(overrides: "Mapping[str, str | None] | None" = None) -> "Home":
    """Read the configuration and give its home; raises `CommandFailed`."""
    from provider.config.service_environment import user_config_home
    from provider.service.life import Home

    return Home(configured(overrides), user_config_home())


def order(home: "Home", wanted: "Order", *, timeout: float = 30.0) -> "Answer":
    """Give an order to the running daemon; raises `CommandFailed` when there is none, or when it refuses."""
    from provider.control import ControlFailed, NotRunning, ask

    try:
        answer = ask(home.configuration.places.home, wanted, timeout=timeout)
    except NotRunning:
        raise CommandFailed("No provider runs.", fix="darkbloom start") from None
    except ControlFailed as failed:
        raise CommandFailed(str(failed), fix="darkbloom status") from None
    if not answer.done:
        raise CommandFailed(answer.error)
    return answer


def last_log_lines(path: Path, *, after: int = 0) -> str:
    """Give the end of a log, as far as it was written behind the byte `after`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(after, size - 64 * 1024))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:])
