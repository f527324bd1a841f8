"""`darkbloom models catalog`."""

from typing import TYPE_CHECKING

import click

from provider.cli.account import coordinator_option
from provider.cli.examples import examples
from provider.cli.exits import OK
from provider.cli.models_shared import ask_catalogue, count_text, open_cache, size_text
from provider.cli.models_table import print_table
from provider.cli.session import json_option, print_json

if TYPE_CHECKING:
    from provider.catalog.entries import CatalogEntry
    from provider.config import ProviderSettings


@click.command(name="catalog", epilog=examples("darkbloom models catalog --coordinator https://HOST"))
@click.option("--type", "model_type", default="text", show_default=True, help="Kind of model.")
@coordinator_option
@json_option
def command(model_type: str, coordinator: str | None, as_json: bool) -> int:
    """Show what the coordinator offers, and what of it fits this machine."""
    from provider.memory.system import open_system_memory
    from provider.models.scan import scan_models

    configuration, cache = open_cache(coordinator)
    catalogue = ask_catalogue(configuration, lambda client: client.catalogue(model_type), command="models catalog")
    here = {model.model_id for model in scan_models(cache) if model.facts is not None}
    physical = open_system_memory().physical()
    entries = [
        (entry, fits_entry(entry, physical, configuration.settings)) for entry in catalogue.models if entry.active
    ]
    if as_json:
        print_json({"models": [_described(entry, fits, entry.id in here) for entry, fits in entries]})
        return OK
    if not entries:
        click.echo("The catalogue is empty; its coordinator serves whatever models machines offer.")
        return OK
    print_table(
        ("MODEL", "SIZE", "MEMORY", "QUANT", "CONTEXT", "FITS", "HERE"),
        [_row(entry, fits, entry.id in here) for entry, fits in entries],
        right=(1, 2, 4),
    )
    return OK


def fits_entry(entry: "CatalogEntry", physical: int, settings: "ProviderSettings") -> bool:
    """Whether a model of the catalogue can be served by a machine with this much memory, in bytes."""
    from provider.memory.fit import fits_machine
    from provider.memory.policy import GIB, padded_weights

    if entry.min_ram_gb * GIB > physical:
        return False
    return fits_machine(padded_weights(entry.disk_bytes), physical, settings.memory_policy())


def _row(entry: "CatalogEntry", fits: bool, is_here: bool) -> tuple[str, ...]:
    return (
        entry.id,
        size_text(entry.disk_bytes),
        f"{entry.estimated_memory_gb:.1f} GiB",
        entry.quantization or "–",
        count_text(entry.max_context_length),
        "✓" if fits else "✗",
        "yes" if is_here else "",
    )


def _described(entry: "CatalogEntry", fits: bool, is_here: bool) -> dict[str, object]:
    import msgspec

    return {**msgspec.structs.asdict(entry), "fits": fits, "on_this_machine": is_here}
