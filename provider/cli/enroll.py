"""`darkbloom enroll`: device management of macOS; elsewhere there is none."""

import click

from provider.cli.examples import examples
from provider.cli.exits import CommandFailed


@click.command(name="enroll", hidden=True, epilog=examples("darkbloom enroll"))
def command() -> int:
    """Not available on this platform."""
    raise CommandFailed("Device enrolment is not available on this platform.", fix="darkbloom doctor")
