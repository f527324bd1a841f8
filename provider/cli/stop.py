"""`darkbloom stop`: drain, and end."""

from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.home import open_home
from provider.cli.serving_options import drain_option
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from provider.service.life import Home


@click.command(name="stop", epilog=examples("darkbloom stop", "darkbloom stop --force", "darkbloom stop --uninstall"))
@drain_option
@click.option("--force", is_flag=True, help="End running requests early.")
@click.option("--uninstall", is_flag=True, help="Remove the background service too.")
@json_option
def command(timeout: int, force: bool, uninstall: bool, as_json: bool) -> int:
    """Take no new requests, finish the running ones, and stop.

    When they take longer than --timeout the command ends with 1; the provider goes on draining and ends by itself.
    """
    home = open_home()
    was_running = stop(home, timeout=timeout, force=force)
    if uninstall:
        _uninstall(home)
    if as_json:
        print_json({"was_running": was_running, "running": False, "uninstalled": uninstall})
    else:
        click.echo("The provider has stopped." if was_running else "The provider is not running.")
    return OK


def stop(home: "Home", *, timeout: float, force: bool, persistent: bool = True) -> bool:
    """Stop the daemon; False when none ran. Raises `CommandFailed`."""
    from provider.control import ControlFailed, NotRunning
    from provider.service.life import StopLate, end_service, stop_daemon
    from provider.service.manager import ServiceFailed

    try:
        was_running = stop_daemon(home, timeout=timeout, force=force, persistent=persistent)
    except StopLate as late:
        raise CommandFailed(str(late), fix="darkbloom stop --force") from None
    except NotRunning:
        raise CommandFailed(
            f"The provider (pid {home.pid}) does not listen for orders; it may be starting, or stuck.",
            fix=f"kill {home.pid}",
        ) from None
    except (ControlFailed, ServiceFailed) as failed:
        raise CommandFailed(str(failed), fix=f"kill {home.pid}") from None
    end_service(home)
    return was_running


def _uninstall(home: "Home") -> None:
    manager = home.manager
    if manager is not None:
        manager.uninstall()
        home.configuration.places.service_file.unlink(missing_ok=True)
