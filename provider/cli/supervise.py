"""`darkbloom supervise -- ARGUMENTS`: the parent of a background provider; run by `darkbloom start`."""

import sys

import click

from provider.cli.examples import examples


@click.command(
    name="supervise",
    hidden=True,
    context_settings={"ignore_unknown_options": True},
    epilog=examples("darkbloom supervise -- start --foreground --model demo"),
)
@click.option("--once", is_flag=True, help="Do not start it again.")
@click.option("--first-pause", type=float, hidden=True)
@click.argument("arguments", nargs=-1, required=True)
def command(once: bool, first_pause: float | None, arguments: tuple[str, ...]) -> int:
    """Run a provider and start it again after a crash."""
    from provider.service.supervise import supervise

    isolated = ["-I"] if sys.flags.isolated else []
    command_line = [sys.executable, *isolated, "-m", "provider.cli", *arguments]
    return supervise(command_line, restart=not once, first_pause=first_pause)
