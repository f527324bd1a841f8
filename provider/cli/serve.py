"""`darkbloom serve`: `start --foreground` under a shorter name, with the options that mean something there."""

from typing import Final

import click

from provider.cli.examples import examples
from provider.cli.start import command as start

OF_THE_SERVICE: Final = ("foreground", "timeout", "force")
"""Options of `start` that say how to start in the background."""


@click.pass_context
def _serve(context: click.Context, /, **options: object) -> int:
    result: int = context.invoke(start, foreground=True, **options)
    return result


command = click.Command(
    name="serve",
    callback=_serve,
    params=[option for option in start.params if option.name not in OF_THE_SERVICE],
    help="Serve requests in this terminal until SIGTERM or Ctrl-C; running requests finish first.",
    epilog=examples("darkbloom serve --model demo --coordinator wss://HOST"),
)
