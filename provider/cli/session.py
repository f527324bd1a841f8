"""What the options before the command's name say, for the whole run of one command line."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from provider.cli.exits import CONFIGURATION, CommandFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.config import Configuration


class Session:
    """Filled by the root command; a plain class, because what makes others is slow to import."""

    def __init__(self, config: Path | None = None, *, verbose: bool = False, color: bool = True) -> None:
        self.config = config
        self.verbose = verbose
        self.color = color


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def session() -> Session:
    """Give the session of the running command."""
    context = click.get_current_context(silent=True)
    found = None if context is None else context.find_root().obj
    return found if isinstance(found, Session) else Session()


def configured(overrides: "Mapping[str, str | None] | None" = None, *, quiet: bool = False) -> "Configuration":
    """Read the configuration; entries of `overrides` that are None do not count.

    Warnings go to standard error unless `quiet`. Raises `CommandFailed` with all problems at once.
    """
    from protocol.settings import SettingsError
    from provider.config import load_configuration

    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    try:
        configuration = load_configuration(path=session().config, overrides=given)
    except SettingsError as error:
        raise CommandFailed("\n".join(error.problems), fix="darkbloom config path", code=CONFIGURATION) from None
    if not quiet:
        for warning in configuration.warnings:
            click.echo(f"warning: {warning}", err=True)
    return configuration


def print_json(content: object) -> None:
    """Print one JSON value, at once."""
    import json

    click.echo(json.dumps(content, indent=2, ensure_ascii=False, default=str))
