"""`darkbloom models remove`."""

import sys

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.home import open_home
from provider.cli.models_shared import ORDER_SECONDS, find_local, open_cache, size_text
from provider.cli.session import json_option, print_json


@click.command(name="remove", epilog=examples("darkbloom models remove mlx-community/Qwen3-8B-4bit"))
@click.argument("model_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Unload the model from the running provider first; implies --yes.")
@json_option
def command(model_id: str, yes: bool, force: bool, as_json: bool) -> int:
    """Delete a model from this machine.

    A model that is loaded, or that is being downloaded, is not removed.
    """
    from provider.catalog.failures import DownloadFailed
    from provider.catalog.place import remove_model, tree_bytes
    from provider.models.scan import scan_models

    _configuration, cache = open_cache()
    model = find_local(scan_models(cache), model_id)
    if not (yes or force):
        if as_json or not sys.stdin.isatty():
            raise CommandFailed("Nobody can be asked here.", fix=f"darkbloom models remove {model_id} --yes")
        click.confirm(f"Delete {model_id} ({size_text(tree_bytes(model.folder))}) from this machine?", abort=True)
    if force:
        _unload(model_id)
    try:
        freed = remove_model(cache, model_id)
    except DownloadFailed as failed:
        raise CommandFailed(str(failed)) from None
    if as_json:
        print_json({"id": model_id, "freed_bytes": freed})
    else:
        click.echo(f"Removed {model_id}; {size_text(freed)} are free again.")
    return OK


def _unload(model_id: str) -> None:
    """Ask a running provider to let go of the model; none that runs, or one without the model, is fine."""
    from provider.control import ControlFailed, NotRunning, ask
    from provider.control.orders import Unload

    try:
        ask(open_home().configuration.places.home, Unload(model=model_id), timeout=ORDER_SECONDS)
    except NotRunning:
        return
    except ControlFailed as failed:
        raise CommandFailed(str(failed), fix="darkbloom status") from None
