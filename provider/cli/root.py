"""The root command: finds subcommands lazily, turns failures into one sentence and an exit code."""

import difflib
import importlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import click

from provider.cli.exits import FAILURE, INTERNAL, OK, USAGE, CommandFailed

COMMANDS: Final = {
    "dev": ("provider.cli.dev", "Run a coordinator, a provider and the demo model on this machine."),
    "login": ("provider.cli.login", "Link this machine to your account."),
    "logout": ("provider.cli.logout", "Unlink this machine from its account."),
    "start": ("provider.cli.start", "Connect this machine to a coordinator and serve requests."),
}


def installed_version() -> str:
    """Give the version of the installed distribution, or `0+unknown` when it runs from a bare tree."""
    try:
        return version("darkbloom")
    except PackageNotFoundError:
        return "0+unknown"


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run, so that `--help` and `--version` stay quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give all command names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_module, text) in sorted(COMMANDS.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with its nearest neighbour."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"There is no command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(installed_version(), "--version", message="darkbloom %(version)s")
def root() -> None:
    """Private AI inference on computers that people already own."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code; failures print one sentence, and a remedy where there is one."""
    try:
        result = root.main(args=list(arguments), prog_name="darkbloom", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return OK
    except click.UsageError as error:
        click.echo(f"error: {error.format_message()}", err=True)
        if error.ctx is not None:
            click.echo(f"  fix: {error.ctx.command_path} --help", err=True)
        return USAGE
    except click.Abort:
        return FAILURE
    except BaseExceptionGroup as group:
        leaf = _leaf(group)
        # A task group wraps what a second Ctrl-C or a closed standard output raises inside it.
        return FAILURE if isinstance(leaf, KeyboardInterrupt | SystemExit) else _say_failure(leaf)
    except Exception as error:
        return _say_failure(error)
    return result if isinstance(result, int) else OK


def _leaf(error: BaseException) -> BaseException:
    """Find what a group of failures is about: a `CommandFailed` if there is one, else its first member."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_leaf(member) for member in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, CommandFailed)), leaves[0])


def _say_failure(error: BaseException) -> int:
    if isinstance(error, CommandFailed):
        click.echo(f"error: {error}", err=True)
        if error.fix:
            click.echo(f"  fix: {error.fix}", err=True)
        return error.code
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "an unknown place"
    click.echo(f"error: {type(error).__name__} at {place}; this is a fault of the program.", err=True)
    return INTERNAL
