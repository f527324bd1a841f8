"""`darkbloom start`: connect this machine to a coordinator and serve requests in the foreground."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provider.cli.exits import CONFIGURATION, CommandFailed

if TYPE_CHECKING:
    from provider.daemon import OfferedModel

DEMO = "demo"


@click.command(name="start")
@click.option("--foreground", is_flag=True, help="Stay in this terminal; the log goes to standard error.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="DIRECTORY | ID=DIRECTORY | demo",
    help="A model to offer; repeat it for several.",
)
@click.option("--coordinator", metavar="URL", help="wss://HOST/ws/provider, instead of DARKBLOOM_COORDINATOR_URL.")
@click.option("--insecure-link", is_flag=True, help="Permit ws:// to another machine; only for a closed test network.")
@click.option("--max-concurrent", type=click.IntRange(1, 24), help="Requests that one model runs together.")
@click.option("--stop-with-parent", is_flag=True, help="Stop in order when standard input ends.")
def command(
    foreground: bool,
    models: tuple[str, ...],
    coordinator: str | None,
    insecure_link: bool,
    max_concurrent: int | None,
    stop_with_parent: bool,
) -> int:
    """Connect this machine to a coordinator and serve requests until SIGTERM or Ctrl-C.

    The first signal drains: running requests finish. A second one ends them early.
    """
    if not foreground:
        raise CommandFailed(
            "The provider runs in the foreground only in this version.", fix="darkbloom start --foreground …"
        )
    if not models:
        raise CommandFailed("No model to offer.", fix="darkbloom start --foreground --model DIRECTORY")
    from provider.cli.engine_installed import require_engine
    from provider.hardening import restart_with_clean_environment

    # `-m` would search the working directory first, where the installed command never looks.
    safe_path = [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
    restart_with_clean_environment([*safe_path, "-m", "provider.cli", *sys.argv[1:]])
    require_engine()
    overrides = _overrides(coordinator, insecure_link, max_concurrent)
    return _serve(models, overrides, stop_with_parent=stop_with_parent)


def _serve(models: tuple[str, ...], overrides: dict[str, str], *, stop_with_parent: bool) -> int:
    import trio

    from protocol import lifeline
    from protocol.settings import SettingsError
    from provider.config import load_settings
    from provider.daemon import DaemonOptions, DaemonRefused, run_daemon
    from provider.observe import configure_logging, mute_exception_texts

    try:
        loaded = load_settings(overrides=overrides)
    except SettingsError as error:
        raise CommandFailed("\n".join(error.problems), code=CONFIGURATION) from None
    settings = loaded.settings
    configure_logging(form=settings.log_format, level=settings.log_level)
    mute_exception_texts()
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if stop_with_parent:
        lifeline.stop_with_parent()
    options = DaemonOptions(models=tuple(_offered(model) for model in models), settings=settings)
    try:
        return trio.run(lambda: run_daemon(options))
    except DaemonRefused as refused:
        raise CommandFailed(str(refused), code=refused.exit_code) from None


def _offered(text: str) -> "OfferedModel":
    """Read `demo`, `DIRECTORY` or `ID=DIRECTORY`; without an id the directory's name is the id."""
    from provider.daemon import OfferedModel
    from provider.demo import DEMO_MODEL_ID, demo_model_path

    if text == DEMO:
        return OfferedModel(DEMO_MODEL_ID, demo_model_path())
    name, equals, rest = text.partition("=")
    directory = Path(rest if equals else text).expanduser()
    return OfferedModel(name if equals else directory.resolve().name, directory)


def _overrides(coordinator: str | None, insecure_link: bool, max_concurrent: int | None) -> dict[str, str]:
    given: dict[str, str | None] = {
        "DARKBLOOM_COORDINATOR_URL": coordinator,
        "DARKBLOOM_ALLOW_INSECURE_LINK": "true" if insecure_link else None,
        "DARKBLOOM_MAX_CONCURRENT": None if max_concurrent is None else str(max_concurrent),
    }
    return {name: value for name, value in given.items() if value is not None}
