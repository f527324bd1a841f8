"""What all commands share: exit codes, and settings or a clean end."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

import click

from protocol.settings import Loaded, SettingsError
from server.config import CoordinatorSettings, load_settings

EXIT_OK: Final = 0
EXIT_RUN: Final = 1
EXIT_CONFIGURATION: Final = 2
EXIT_USAGE: Final = 64


def load_or_exit(overrides: Mapping[str, str] | None = None) -> Loaded[CoordinatorSettings]:
    """Return the settings, or print every problem and exit with 2."""
    try:
        return load_settings(overrides=overrides)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(EXIT_CONFIGURATION)
