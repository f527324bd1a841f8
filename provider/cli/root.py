"""The root command: finds subcommands lazily, turns failures into one sentence and an exit code."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from provider.cli.examples import examples
from provider.cli.exits import FAILURE, INTERNAL, OK, USAGE, CommandFailed
from provider.cli.lazy import LazyGroup
from provider.cli.session import Session

COMMANDS: Final = {
    "autoupdate": ("provider.cli.autoupdate", "Switch automatic updates on or off."),
    "benchmark": ("provider.cli.benchmark", "Measure how fast this machine runs a model."),
    "completion": ("provider.cli.completion", "Print the completion script of your shell."),
    "config": ("provider.cli.config", "Read and change the configuration."),
    "dev": ("provider.cli.dev", "Run a coordinator, a provider and the demo model on this machine."),
    "doctor": ("provider.cli.doctor", "Check this machine, its daemon and its coordinator."),
    "earnings": ("provider.cli.earnings", "Show what this machine's account has earned."),
    "idle": ("provider.cli.idle", "Say when unused models are unloaded."),
    "local": ("provider.cli.local", "Serve programs on this machine, without a coordinator."),
    "login": ("provider.cli.login", "Link this machine to your account."),
    "logout": ("provider.cli.logout", "Unlink this machine from its account."),
    "logs": ("provider.cli.logs", "Show the log of the background service."),
    "models": ("provider.cli.models", "List, download, check, remove and publish models."),
    "report": ("provider.cli.report", "Send a redacted log to the operators, after showing it."),
    "restart": ("provider.cli.restart", "Drain the provider and start it again."),
    "run": ("provider.cli.run", "Chat with a model of this machine in the terminal."),
    "serve": ("provider.cli.serve", "The same as `start --foreground`."),
    "start": ("provider.cli.start", "Connect this machine to a coordinator and serve requests."),
    "status": ("provider.cli.status", "Show what the provider does, once or live."),
    "stop": ("provider.cli.stop", "Finish running requests and stop the provider."),
    "switch": ("provider.cli.switch", "Change the models of the running provider."),
    "update": ("provider.cli.update", "Install the newest release."),
    "verify": ("provider.cli.verify", "The same as `doctor --strict`."),
}

HIDDEN: Final = {
    "runtime-smoke": ("provider.cli.runtime_smoke", ""),
    "supervise": ("provider.cli.supervise", ""),
    "watchdog": ("provider.cli.watchdog", ""),
    "enroll": ("provider.cli.enroll", ""),
    "unenroll": ("provider.cli.unenroll", ""),
}
"""Commands that machines run, and those of another platform."""


def _print_version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from provider.version import installed_version

        click.echo(f"darkbloom {installed_version()}")
        context.exit()


@click.group(
    cls=LazyGroup,
    members=COMMANDS,
    hidden=HIDDEN,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "darkbloom dev                         try everything on this machine",
        "darkbloom local --model demo          an OpenAI-compatible server on 127.0.0.1:8000",
        "darkbloom login && darkbloom start    serve your account's coordinator",
        "darkbloom status --watch",
    ),
)
@click.option("-c", "--config", type=click.Path(dir_okay=False, path_type=Path), help="Configuration file to use.")
@click.option("-v", "--verbose", is_flag=True, help="Show where a fault of the program happened.")
@click.option("--no-color", is_flag=True, help="Print without colours.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def root(context: click.Context, config: Path | None, verbose: bool, no_color: bool) -> None:
    """Private AI inference on computers that people already own."""
    from provider.config.terminal import wants_color

    found = context.find_object(Session)
    assert found is not None
    found.config, found.verbose, found.color = config, verbose, not no_color and wants_color()
    if not found.color:
        context.color = False


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code; failures print one sentence, and a remedy where there is one."""
    session = Session()
    try:
        result = root.main(args=list(arguments), prog_name="darkbloom", standalone_mode=False, obj=session)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
        return OK
    except click.UsageError as error:
        # The library sets its lists of choices over several lines.
        click.echo(f"error: {' '.join(error.format_message().split())}", err=True)
        click.echo(f"  fix: {error.ctx.command_path if error.ctx else 'darkbloom'} --help", err=True)
        return USAGE
    except click.Abort:
        return FAILURE
    except BaseExceptionGroup as group:
        leaf = _leaf(group)
        # A task group wraps what a second Ctrl-C or a closed standard output raises inside it.
        return FAILURE if isinstance(leaf, KeyboardInterrupt | SystemExit) else _say_failure(leaf, session)
    except Exception as error:
        return _say_failure(error, session)
    return result if isinstance(result, int) else OK


def _leaf(error: BaseException) -> BaseException:
    """Find what a group of failures is about: a `CommandFailed` if there is one, else its first member."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_leaf(member) for member in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, CommandFailed)), leaves[0])


def _say_failure(error: BaseException, session: Session) -> int:
    if isinstance(error, CommandFailed):
        click.echo(f"error: {error}", err=True)
        if error.fix:
            click.echo(f"  fix: {error.fix}", err=True)
        return error.code
    if session.verbose:
        # The frames alone: an exception's text may hold what a request said.
        import traceback  # only here: help is quick

        click.echo("".join(traceback.format_tb(error.__traceback__)), err=True, nl=False)
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "an unknown place"
    click.echo(f"error: {type(error).__name__} at {place}; this is a fault of the program.", err=True)
    return INTERNAL
