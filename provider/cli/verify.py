"""`darkbloom verify`: `doctor --strict` under a shorter name."""

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.session import json_option


@click.command(name="verify", epilog=examples("darkbloom verify", "darkbloom verify --json"))
@coordinator_option
@json_option
def command(coordinator: str | None, as_json: bool) -> int:
    """Run all checks of `doctor`; ends with 1 on a warning too."""
    from provider.cli.doctor import examine

    return examine(strict=True, coordinator=coordinator, support=False, as_json=as_json)
