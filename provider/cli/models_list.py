"""`darkbloom models list`."""

from typing import TYPE_CHECKING

import click

from provider.cli.examples import examples
from provider.cli.exits import OK, CommandFailed
from provider.cli.models_shared import count_text, find_local, open_cache, size_text
from provider.cli.models_table import print_table
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from provider.models.scan import LocalModel


@click.command(name="list", epilog=examples("darkbloom models list --all"))
@click.option("--all", "show_all", is_flag=True, help="Show models too that cannot be served, with the reason.")
@click.option("--hash", "hash_id", metavar="ID", help="Read this model's files and print its weight hash.")
@json_option
def command(show_all: bool, hash_id: str | None, as_json: bool) -> int:
    """Show the models on this machine.

    Weights are not read, so it is quick with any number of models.
    """
    from provider.models.scan import scan_models

    _configuration, cache = open_cache()
    models = scan_models(cache)
    if hash_id is not None:
        return _print_hash(find_local(models, hash_id), as_json)
    shown = [model for model in models if show_all or model.is_servable]
    if as_json:
        print_json({"cache": str(cache.root), "models": [_described(model) for model in shown]})
        return OK
    if not shown:
        click.echo(f"No model in {cache.root} can be served.")
        hidden = len(models)
        if hidden:
            click.echo(f"{hidden} more cannot; see `darkbloom models list --all`.")
        click.echo("Get one with `darkbloom models catalog` and `darkbloom models download ID`.")
        return OK
    print_table(
        ("MODEL", "SIZE", "MEMORY", "QUANT", "CONTEXT", "STATE"),
        [_row(model) for model in shown],
        right=(1, 2, 4),
    )
    return OK


def state_text(model: "LocalModel") -> str:
    """Give one word, or the reason why a model cannot be served."""
    from provider.models.in_use import is_in_use

    if model.facts is not None and is_in_use(model.facts.directory):
        return "loaded"
    return "ready" if model.is_servable else f"{model.state}: {model.reason}"


def _row(model: "LocalModel") -> tuple[str, ...]:
    facts = model.facts
    if facts is None:
        return model.model_id, "–", "–", "–", "–", state_text(model)
    return (
        model.model_id,
        size_text(facts.disk_bytes),
        f"{facts.estimated_memory_gb:.1f} GiB",
        facts.quantization or "–",
        count_text(facts.context_tokens),
        state_text(model),
    )


def _described(model: "LocalModel") -> dict[str, object]:
    facts = model.facts
    described: dict[str, object] = {
        "id": model.model_id,
        "state": model.state,
        "reason": model.reason,
        "loaded": state_text(model) == "loaded",
        "folder": str(model.folder),
    }
    if facts is not None:
        described |= {
            "snapshot": str(facts.directory),
            "size_bytes": facts.disk_bytes,
            "estimated_memory_gb": round(facts.estimated_memory_gb, 3),
            "model_type": facts.model_type,
            "quantization": facts.quantization,
            "max_context_length": facts.context_tokens,
        }
    return described


def _print_hash(model: "LocalModel", as_json: bool) -> int:
    from protocol.weight_hash import weight_hash

    if model.facts is None:
        raise CommandFailed(f"The model {model.model_id} has no hash: {model.reason}.")
    found = weight_hash(model.facts.directory)
    if found is None:
        raise CommandFailed(f"A file of {model.facts.directory} cannot be read; check its owner and mode.")
    if as_json:
        print_json({"id": model.model_id, "weight_hash": found})
    else:
        click.echo(found)
    return OK
