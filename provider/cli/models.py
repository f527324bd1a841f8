"""`darkbloom models`: what is on this machine, what the coordinator offers, and moving between the two."""

import click

from provider.cli.examples import examples
from provider.cli.lazy import LazyGroup

MEMBERS = {
    "catalog": ("provider.cli.models_catalog", "Show what the coordinator offers and what fits this machine."),
    "download": ("provider.cli.models_download", "Get a model from the catalogue; `pull` is the same."),
    "info": ("provider.cli.models_info", "Show one model: sizes, chat template, memory."),
    "list": ("provider.cli.models_list", "Show the models on this machine."),
    "load": ("provider.cli.models_load", "Load a model into the running provider."),
    "publish": ("provider.cli.models_publish", "Describe a model in a manifest and register it."),
    "remove": ("provider.cli.models_remove", "Delete a model from this machine."),
    "unload": ("provider.cli.models_unload", "Free the memory of a loaded model."),
    "verify": ("provider.cli.models_verify", "Read all files again and compare them with the catalogue."),
}
HIDDEN = {"pull": MEMBERS["download"]}


@click.group(
    name="models",
    cls=LazyGroup,
    members=MEMBERS,
    hidden=HIDDEN,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "darkbloom models catalog",
        "darkbloom models download mlx-community/Qwen3-8B-4bit",
        "darkbloom models list",
    ),
)
def command() -> None:
    """List, download, check, remove and publish models."""
