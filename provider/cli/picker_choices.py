"""What the picker offers: models on this machine, then those of the coordinator's catalogue that fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from provider.cli.exits import CommandFailed

if TYPE_CHECKING:
    from provider.catalog.entries import Catalogue
    from provider.config import Configuration
    from provider.models.hub import HubCache

CATALOGUE_SECONDS: Final = 5.0
"""How long the picker waits for the catalogue before it does without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model that fits this machine; `is_here` False means that it has to be downloaded first."""

    model_id: str
    memory_gb: float
    disk_gb: float
    context_tokens: int
    is_here: bool


def find_choices(configuration: "Configuration", *, physical: int, asks_coordinator: bool) -> tuple[Choice, ...]:
    """Find what can be served here; the models of this machine first, each part the largest first.

    Raises `CommandFailed` when there is nothing.
    """
    from provider.models.hub import HubCache

    cache = HubCache(configuration.settings.models_directory)
    here = _local_choices(configuration, cache, physical)
    catalogue = _read_catalogue(configuration) if asks_coordinator else None
    known = {choice.model_id for choice in here}
    away = () if catalogue is None else _catalogue_choices(configuration, catalogue, physical)
    choices = (*here, *(choice for choice in away if choice.model_id not in known))
    if not choices:
        raise CommandFailed(
            f"No model in {cache.root} can be served here.",
            fix="darkbloom models catalog, then darkbloom models download ID (or --model demo)",
        )
    return choices


def _local_choices(configuration: "Configuration", cache: "HubCache", physical: int) -> tuple[Choice, ...]:
    from provider.memory.fit import fits_machine
    from provider.memory.policy import padded_weights
    from provider.models.scan import scan_models

    policy = configuration.settings.memory_policy()
    return _ordered(
        [
            Choice(
                model_id=model.model_id,
                memory_gb=model.facts.estimated_memory_gb,
                disk_gb=model.facts.disk_bytes / 1e9,
                context_tokens=model.facts.context_tokens,
                is_here=True,
            )
            for model in scan_models(cache)
            if model.is_servable
            and model.facts is not None
            and fits_machine(padded_weights(model.facts.disk_bytes), physical, policy)
        ]
    )


def _catalogue_choices(configuration: "Configuration", catalogue: "Catalogue", physical: int) -> tuple[Choice, ...]:
    from provider.cli.models_catalog import fits_entry

    return _ordered(
        [
            Choice(
                model_id=entry.id,
                memory_gb=entry.estimated_memory_gb,
                disk_gb=entry.disk_bytes / 1e9,
                context_tokens=entry.max_context_length,
                is_here=False,
            )
            for entry in catalogue.models
            if entry.active and entry.has_manifest and fits_entry(entry, physical, configuration.settings)
        ]
    )


def _ordered(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    return tuple(sorted(choices, key=lambda choice: (-choice.memory_gb, choice.model_id)))


def _read_catalogue(configuration: "Configuration") -> "Catalogue | None":
    """Ask the coordinator, for a bounded time; what fails there is told and leaves the models of this machine."""
    from provider.cli.models_shared import ask_catalogue

    try:
        return ask_catalogue(
            configuration, lambda client: client.catalogue(), command="start", limit_seconds=CATALOGUE_SECONDS
        )
    except CommandFailed as failed:
        click.echo(f"warning: {failed} Only models on this machine are shown.", err=True)
        return None
