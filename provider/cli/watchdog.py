"""`darkbloom watchdog`: one look at the macOS service; run by launchd every minute."""

import sys
import time

import click

from provider.cli.examples import examples
from provider.cli.exits import FAILURE, OK, CommandFailed
from provider.cli.home import open_home


@click.command(name="watchdog", hidden=True, epilog=examples("darkbloom watchdog"))
def command() -> int:
    """Start a crashed provider again when it stays down, and one that ended for an update at once."""
    from provider.service.launchd import Launchd
    from provider.service.manager import ServiceFailed, run_tool
    from provider.service.watchdog import decide
    from provider.service.watchdog_file import read_notes, write_notes
    from provider.update.state import read_update_state

    home = open_home()
    manager = home.manager
    if not isinstance(manager, Launchd):
        raise CommandFailed("The watchdog belongs to launchd; this machine does without.", fix="darkbloom start")
    places, updates_itself = home.configuration.places, home.configuration.settings.updates_itself
    path = places.home / "watchdog-state.json"
    boot = run_tool(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]).output
    act, notes = decide(
        read_notes(path),
        is_loaded=manager.is_loaded(),
        is_running=home.pid is not None,
        awaits_start=updates_itself and read_update_state(places.update_file).awaits_start,
        boot=boot,
        now=time.time(),
    )
    write_notes(path, notes)
    if act == "restart":
        try:
            manager.kickstart()
        except ServiceFailed as failed:
            raise CommandFailed(str(failed)) from None
    if act == "give_up":
        sys.stderr.write("the provider crashed three times in a row; it is not started again\n")
        return FAILURE
    return OK
