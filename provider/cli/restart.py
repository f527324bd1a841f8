"""`darkbloom restart`: drain, start again with the recorded arguments, wait for the new process."""

from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.home import open_home
from provider.cli.serving_options import drain_option

if TYPE_CHECKING:
    from provider.service.life import Home


@click.command(name="restart", epilog=examples("darkbloom restart", "darkbloom restart --timeout 60 --force"))
@drain_option
@click.option(
    "--startup-timeout",
    type=click.IntRange(1, 3600),
    default=180,
    show_default=True,
    help="Seconds to get ready again.",
)
@click.option("--force", is_flag=True, help="End running requests early.")
def command(timeout: int, startup_timeout: int, force: bool) -> int:
    """Drain the provider, start it again, and wait until the new process is registered."""
    restart(open_home(), timeout=timeout, startup_timeout=startup_timeout, force=force)
    return OK


def restart(home: "Home", *, timeout: float, startup_timeout: float, force: bool) -> None:
    """Drain, start, wait; raises `CommandFailed`."""
    manager, spec = home.manager, home.spec
    if manager is None or spec is None:
        where = f" The one that runs (pid {home.pid}) was started in a terminal." if home.pid else ""
        raise CommandFailed(f"No background service is installed.{where}", fix="darkbloom start")
    from provider.cli.start_service import start_and_wait
    from provider.cli.stop import stop
    from provider.service.manager import ServiceFailed

    stop(home, timeout=timeout, force=force)
    try:
        start_and_wait(home, manager, spec, timeout=startup_timeout, needs_link="--local" not in spec.arguments)
    except ServiceFailed as failed:
        raise CommandFailed(str(failed), fix="darkbloom start") from None
