"""What `login` and `logout` share: which coordinator, which home, and how `--json` prints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provider.cli.exits import CONFIGURATION, CommandFailed
from provider.cli.session import configured

if TYPE_CHECKING:
    from provider.config import ProviderSettings

coordinator_option = click.option(
    "--coordinator", metavar="URL", help="For example https://HOST, instead of the configured one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead of sentences.")


def read_settings(coordinator: str | None) -> "ProviderSettings":
    """Read the settings; raises `CommandFailed` with all problems at once."""
    return configured({"DARKBLOOM_COORDINATOR_URL": coordinator}).settings


def door_base(settings: "ProviderSettings", *, command: str) -> str:
    """Give the HTTP address of the coordinator; raises `CommandFailed`."""
    if settings.coordinator_url is None:
        raise CommandFailed(
            "No coordinator is named.", fix=f"darkbloom {command} --coordinator https://HOST", code=CONFIGURATION
        )
    from provider.account import door_address
    from provider.link import AddressRefused, parse_address

    try:
        return door_address(parse_address(settings.coordinator_url, allow_insecure=settings.allow_insecure_link))
    except AddressRefused as refused:
        raise CommandFailed(str(refused), code=CONFIGURATION) from None


def print_json(content: dict[str, str | float | Path]) -> None:
    """Print one object on a line of its own, at once."""
    click.echo(json.dumps({name: str(value) if isinstance(value, Path) else value for name, value in content.items()}))
