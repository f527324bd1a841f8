"""`darkbloom models verify`: are the files on this machine those of the catalogue?"""

from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import FAILURE, OK, CommandFailed
from provider.cli.models_shared import ask_catalogue, find_local, open_cache
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from provider.models.scan import LocalModel

_SENTENCES = {
    "ok": "is the catalogue's",
    "differs": "differs from the catalogue",
    "unlisted": "is not in the catalogue",
    "unreadable": "has a file that cannot be read",
}


@click.command(name="verify", epilog=examples("darkbloom models verify mlx-community/Qwen3-8B-4bit"))
@click.argument("model_ids", metavar="[ID]...", nargs=-1)
@coordinator_option
@json_option
def command(model_ids: tuple[str, ...], coordinator: str | None, as_json: bool) -> int:
    """Read all files of models again and compare their weight hashes with the catalogue.

    Without an ID every model on this machine is checked. Exit code 1 if one differs.
    """
    from provider.models.scan import scan_models

    configuration, cache = open_cache(coordinator)
    models = [model for model in scan_models(cache) if model.facts is not None]
    chosen = [find_local(models, model_id) for model_id in model_ids] or models
    if not chosen:
        raise CommandFailed("There is no model on this machine.", fix="darkbloom models catalog")
    catalogue = ask_catalogue(configuration, lambda client: client.catalogue(), command="models verify")
    expected = {entry.id: entry.expected_hash for entry in catalogue.models}
    results = [_judge(model, expected.get(model.model_id, "")) for model in chosen]
    if as_json:
        print_json({"models": results})
    else:
        for result in results:
            mark = "✓" if result["result"] == "ok" else "!" if result["result"] == "unlisted" else "✗"
            click.echo(f"{mark} {result['id']} {_SENTENCES[str(result['result'])]}")
            if result["result"] in ("differs", "unreadable"):
                click.echo(f"  fix: darkbloom models download {result['id']}")
    return FAILURE if any(result["result"] in ("differs", "unreadable") for result in results) else OK


def _judge(model: "LocalModel", wanted: str) -> dict[str, str | None]:
    from protocol.weight_hash import weight_hash

    assert model.facts is not None
    found = weight_hash(model.facts.directory)
    if found is None:
        result = "unreadable"
    elif not wanted:
        result = "unlisted"
    else:
        result = "ok" if found == wanted else "differs"
    return {"id": model.model_id, "result": result, "weight_hash": found, "expected_hash": wanted or None}
