"""`darkbloom status`: what the daemon says about itself."""

from pathlib import Path

import click

from provider.cli.banner import tell_newer_release
from provider.cli.examples import examples
from provider.cli.exits import OK
from provider.cli.session import configured, json_option, print_json, session


@click.command(
    name="status", epilog=examples("darkbloom status", "darkbloom status --watch", "darkbloom status --json")
)
@click.option("--watch", "is_live", is_flag=True, help="Show requests, tokens a second and memory, live.")
@json_option
def command(is_live: bool, as_json: bool) -> int:
    """Show whether the provider runs, what it is connected to, and what it does.

    The figures come from the file daemon-state.json, which the daemon writes every few seconds; the command needs no
    network and never disturbs it.
    """
    from provider.status.look import look
    from provider.status.text import status_lines
    from provider.version import installed_version

    configuration = configured(quiet=as_json or is_live)
    version, config_file = installed_version(), str(configuration.file.path)
    if is_live and not as_json:
        return _watch_live(configuration.state_file, version)
    seen = look(configuration.state_file)
    if as_json:
        print_json(seen.as_json(version=version, config_file=config_file))
        return OK
    tell_newer_release(configuration)
    for line in status_lines(seen.state, seen.life, now=seen.now, version=version, config_file=config_file):
        click.echo(line)
    return OK


def _watch_live(state_file: Path, version: str) -> int:
    from rich.console import Console

    from provider.status.look import look
    from provider.status.watch import watch

    console = Console(no_color=not session().color, highlight=False)
    try:
        watch(lambda: look(state_file), version=version, console=console, rounds=None if console.is_terminal else 1)
    except KeyboardInterrupt:
        return OK
    return OK
