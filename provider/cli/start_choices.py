"""What `darkbloom start` asks and remembers before it starts anything: models, memory, idle models."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from provider.cli.exits import CommandFailed
from provider.cli.offered import chosen_models, offered_models

if TYPE_CHECKING:
    from provider.config import Configuration, ProviderSettings
    from provider.daemon import OfferedModel

MIN_MEMORY_GB: Final = 8
MAX_IDLE_MINUTES: Final = 43_200
"""The longest that the setting takes; a file with more could not be read again."""


def choose_models(
    configuration: "Configuration", named: Sequence[str], *, take_all: bool, asks_coordinator: bool
) -> "tuple[tuple[str, ...], tuple[OfferedModel, ...]]":
    """Give the names and folders of the models to offer: those named, else those configured, else what is picked.

    What was picked from the catalogue is downloaded. Raises `CommandFailed`.
    """
    settings = configuration.settings
    names = tuple(named)
    if not names and not take_all:
        names = chosen_models(settings)
        if not names and sys.stdin.isatty() and sys.stdout.isatty():
            names = _pick(configuration, asks_coordinator=asks_coordinator)
    if not names and not take_all:
        raise CommandFailed("No model is chosen.", fix="darkbloom start --model ID, or darkbloom start --all")
    offered = offered_models(names, settings, take_all=take_all)
    return (names or tuple(model.model_id for model in offered)), offered


def check_memory(offered: "Sequence[OfferedModel]", settings: "ProviderSettings") -> None:
    """Refuse machines that are too small for any model but the tiny ones."""
    from provider.memory.policy import GIB, SMALL_MODEL
    from provider.memory.system import open_system_memory
    from provider.models.facts import FolderUnusable, weight_bytes

    if settings.dev:
        return
    found = open_system_memory().physical() / GIB
    try:
        is_tiny = all(weight_bytes(model.directory) < SMALL_MODEL for model in offered)
    except FolderUnusable:
        is_tiny = False
    # What a machine of 8 GB reports is a little less.
    if found < MIN_MEMORY_GB * 0.9 and not is_tiny:
        raise CommandFailed(
            f"This machine has {found:.1f} GB of memory; {MIN_MEMORY_GB} GB are needed for these models.",
            fix="darkbloom start --model demo",
        )


def ask_idle(configuration: "Configuration") -> None:
    """Ask once, on the first interactive start, what is to happen with unused models."""
    if not sys.stdin.isatty() or configuration.loaded.sources.get("DARKBLOOM_IDLE_TIMEOUT") != "default":
        return
    click.echo("Unused models: keep them loaded (k), unload after 60 idle minutes (Enter), or after N minutes (N)?")
    answer = click.prompt("", default="60", show_default=False, prompt_suffix="> ").strip().lower()
    typed = int(answer[:9]) if answer.isascii() and answer.isdigit() else 60
    minutes = 0 if answer in ("k", "keep") else min(typed, MAX_IDLE_MINUTES)
    _change(configuration.file.path, {"backend.idle_timeout_mins": minutes})


def save_models(configuration: "Configuration", names: Sequence[str]) -> None:
    """Remember the choice of downloaded models; folders and the demo model are no names of the cache."""
    plain = [name for name in names if "=" not in name and name != "demo" and not Path(name).expanduser().is_dir()]
    if plain and plain == list(names) and tuple(plain) != configuration.settings.enabled_models:
        _change(configuration.file.path, {"backend.enabled_models": plain})


def save_coordinator(configuration: "Configuration", overrides: Mapping[str, str | None]) -> None:
    """Remember the coordinator of the first start, so that every other command asks the same one.

    One that needs `--insecure-link` is not remembered, because that permission is given for one start at a time.
    """
    named = overrides.get("DARKBLOOM_COORDINATOR_URL")
    is_known = "DARKBLOOM_COORDINATOR_URL" in configuration.file.values
    if named is not None and not is_known and not overrides.get("DARKBLOOM_ALLOW_INSECURE_LINK"):
        _change(configuration.file.path, {"coordinator.url": named})


def _pick(configuration: "Configuration", *, asks_coordinator: bool) -> tuple[str, ...]:
    from provider.cli.models_download import download_model
    from provider.cli.picker import pick
    from provider.cli.picker_choices import find_choices
    from provider.memory.system import open_system_memory

    physical = open_system_memory().physical()
    picked = pick(find_choices(configuration, physical=physical, asks_coordinator=asks_coordinator), physical=physical)
    for choice in picked:
        if not choice.is_here:
            download_model(configuration, choice.model_id)
    return tuple(choice.model_id for choice in picked)


def _change(path: Path, values: Mapping[str, object | None]) -> None:
    from provider.config.edit import EditRefused, change_config

    try:
        change_config(path, values)
    except EditRefused as refused:
        raise CommandFailed(str(refused)) from None
