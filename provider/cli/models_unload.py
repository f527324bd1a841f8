"""`darkbloom models unload`."""

import click

from provider.cli.examples import examples
from provider.cli.exits import OK
from provider.cli.home import open_home, order
from provider.cli.models_shared import ORDER_SECONDS
from provider.cli.offered import model_id_of
from provider.cli.session import json_option, print_json


@click.command(name="unload", epilog=examples("darkbloom models unload mlx-community/Qwen3-8B-4bit"))
@click.argument("model_id", metavar="ID")
@json_option
def command(model_id: str, as_json: bool) -> int:
    """Free the memory that a model takes in the running provider; the next request loads it again."""
    from provider.control.orders import Unload

    order(open_home(), Unload(model=model_id_of(model_id)), timeout=ORDER_SECONDS)
    if as_json:
        print_json({"id": model_id, "status": "unloaded"})
    else:
        click.echo(f"{model_id} is unloaded.")
    return OK
