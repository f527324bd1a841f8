"""`darkbloom runtime-smoke`: load what serving needs, and end; run before a new version is put in place."""

import click

from provider.cli.engine_installed import require_engine
from provider.cli.examples import examples
from provider.cli.exits import OK


@click.command(name="runtime-smoke", hidden=True, epilog=examples("darkbloom runtime-smoke"))
def command() -> int:
    """Import the engine and make one small array."""
    require_engine()
    import mlx.core as mx

    import provider.daemon

    mx.eval(mx.zeros(4) + 1)
    click.echo(f"ok {provider.daemon.__name__}")
    return OK
