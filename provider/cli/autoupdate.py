"""`darkbloom autoupdate`: whether new releases install themselves."""

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.session import configured, json_option, print_json

KEY = "provider.auto_update"


@click.group(
    name="autoupdate",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("darkbloom autoupdate status", "darkbloom autoupdate disable"),
)
def command() -> None:
    """Switch automatic updates on or off; only a bundle updates itself."""


@command.command(name="status", epilog=examples("darkbloom autoupdate status --json"))
@json_option
def status(as_json: bool) -> int:
    """Show the switch, what is on trial, and what was put aside."""
    from provider.update.place import find_installation
    from provider.update.state import read_update_state

    configuration = configured(quiet=as_json)
    settings = configuration.settings
    state = read_update_state(configuration.places.update_file)
    is_bundle = find_installation() is not None
    if as_json:
        print_json(
            {
                "enabled": settings.auto_update,
                "possible": is_bundle and settings.auto_restart,
                "on_trial": state.trial or None,
                "put_aside": list(state.quarantined),
                "last_error": state.error or None,
            }
        )
        return OK
    click.echo(f"Automatic updates are {'on' if settings.auto_update else 'off'}.")
    if not is_bundle:
        click.echo("This program came with a package manager, which updates it; the switch has no effect.")
    elif not settings.auto_restart:
        click.echo("With provider.auto_restart off nothing would start the new version; the switch has no effect.")
    if state.trial:
        click.echo(f"On trial: {state.trial}")
    if state.quarantined:
        click.echo(f"Put aside: {', '.join(state.quarantined)}")
    if state.error:
        click.echo(f"Last error: {state.error}")
    return OK


@command.command(name="enable", epilog=examples("darkbloom autoupdate enable"))
def enable() -> int:
    """Let new releases install themselves."""
    return _switch(to=True)


@command.command(name="disable", epilog=examples("darkbloom autoupdate disable"))
def disable() -> int:
    """Install new releases only on `darkbloom update`."""
    return _switch(to=False)


def _switch(*, to: bool) -> int:
    from provider.config.edit import EditRefused, change_config

    try:
        change_config(configured().file.path, {KEY: to})
    except EditRefused as refused:
        raise CommandFailed(str(refused)) from None
    click.echo(f"Automatic updates are {'on' if to else 'off'} from the next start on.")
    return OK
