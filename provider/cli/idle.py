"""`darkbloom idle`: what happens with models that nobody uses."""

from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.session import configured, json_option, print_json

if TYPE_CHECKING:
    from provider.config import Configuration

KEY = "backend.idle_timeout_mins"


@click.group(
    name="idle",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("darkbloom idle status", "darkbloom idle unload-after 30", "darkbloom idle keep-loaded"),
)
def command() -> None:
    """Say when unused models are unloaded; the next request loads them again."""


@command.command(name="status", epilog=examples("darkbloom idle status --json"))
@json_option
def status(as_json: bool) -> int:
    """Show the policy, and which loaded model goes next."""
    from provider.status.look import look
    from provider.status.text import idle_line

    configuration = configured(quiet=as_json)
    minutes = configuration.settings.idle_timeout / 60
    seen = look(configuration.state_file)
    slots = seen.state.slots if seen.state is not None and seen.life.is_alive else ()
    due = {slot.model: round(slot.unloads_at - seen.now) for slot in slots if slot.unloads_at is not None}
    if as_json:
        print_json({"unload_after_minutes": minutes, "keeps_loaded": minutes == 0, "unloads_in_seconds": due})
        return OK
    click.echo("Models stay loaded." if minutes == 0 else f"Unused models are unloaded after {minutes:g} minutes.")
    if seen.state is not None and due:
        click.echo(f"The running provider: {idle_line(seen.state, seen.now)}")
    return OK


@command.command(name="keep-loaded", epilog=examples("darkbloom idle keep-loaded"))
def keep_loaded() -> int:
    """Keep models in memory until another one needs the room."""
    _set(configured(), 0)
    click.echo("Models stay loaded.")
    return OK


@command.command(name="unload-after", epilog=examples("darkbloom idle unload-after 30"))
@click.argument("minutes", type=click.IntRange(1, 10080))
def unload_after(minutes: int) -> int:
    """Unload a model that nobody has used for MINUTES."""
    _set(configured(), minutes)
    click.echo(f"Unused models are unloaded after {minutes} minutes.")
    return OK


def _set(configuration: "Configuration", minutes: int) -> None:
    from provider.config.edit import EditRefused, change_config
    from provider.status.pid_file import running_pid

    try:
        change_config(configuration.file.path, {KEY: minutes})
    except EditRefused as refused:
        raise CommandFailed(str(refused)) from None
    if running_pid(configuration.places.pid_file) is not None:
        click.echo("The running provider takes it over after `darkbloom restart`.")
