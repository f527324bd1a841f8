"""Which models a command line means: folders, the demo model, or names of the model cache."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provider.cli.exits import CommandFailed

if TYPE_CHECKING:
    from provider.config import ProviderSettings
    from provider.daemon import OfferedModel

DEMO: Final = "demo"


def offered_models(
    names: Sequence[str], settings: "ProviderSettings", *, take_all: bool = False
) -> "tuple[OfferedModel, ...]":
    """Find what is named: `demo`, a DIRECTORY, ID=DIRECTORY, or the id of a downloaded model.

    Without names those of the configuration (see `chosen_models`); with `take_all` every model that can be served.
    Raises `CommandFailed`.
    """
    from provider.daemon import OfferedModel
    from provider.models.hub import HubCache
    from provider.models.scan import scan_models

    wanted = tuple(names) or (() if take_all else chosen_models(settings))
    if wanted and all(_is_folder(name) or name == DEMO for name in wanted):
        return tuple(_named(name) for name in wanted)
    found = {model.model_id: model for model in scan_models(HubCache(settings.models_directory))}
    if take_all:
        wanted = tuple(name for name, model in found.items() if model.is_servable)
        if not wanted:
            raise CommandFailed(
                f"No model in {settings.models_directory} can be served.", fix="darkbloom models download ID"
            )
    offered: list[OfferedModel] = []
    for name in wanted:
        if name == DEMO or _is_folder(name):
            offered.append(_named(name))
            continue
        model = found.get(name)
        if model is None:
            near = difflib.get_close_matches(name, [*found, DEMO], n=3, cutoff=0.4)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise CommandFailed(
                f"The model {name} is not on this machine.{hint}", fix=f"darkbloom models download {name}"
            )
        if model.facts is None or not model.is_servable:
            raise CommandFailed(
                f"The model {name} cannot be served: {model.reason}.", fix="darkbloom models list --all"
            )
        offered.append(OfferedModel(name, model.facts.directory))
    return tuple(offered)


def chosen_models(settings: "ProviderSettings") -> tuple[str, ...]:
    """Give the models that the configuration names: the enabled ones, else the preferred one."""
    return settings.enabled_models or ((settings.preferred_model,) if settings.preferred_model else ())


def model_id_of(name: str) -> str:
    """Give the id under which a named model is offered."""
    from provider.demo import DEMO_MODEL_ID

    return DEMO_MODEL_ID if name == DEMO else name


def as_arguments(offered: "Sequence[OfferedModel]", names: Sequence[str]) -> tuple[str, ...]:
    """Give the names as the service passes them on: folders absolute, names as they are."""
    return tuple(
        f"{model.model_id}={model.directory.absolute()}" if _is_folder(name) else name
        for name, model in zip(names, offered, strict=True)
    )


def _is_folder(name: str) -> bool:
    _id, equals, rest = name.partition("=")
    return bool(equals) or name.startswith((".", "/", "~")) or Path(rest or name).expanduser().is_dir()


def _named(name: str) -> "OfferedModel":
    """Read `demo`, `DIRECTORY` or `ID=DIRECTORY`; without an id the directory's name is the id."""
    from provider.daemon import OfferedModel
    from provider.demo import DEMO_MODEL_ID, demo_model_path

    if name == DEMO:
        return OfferedModel(DEMO_MODEL_ID, demo_model_path())
    model_id, equals, rest = name.partition("=")
    directory = Path(rest if equals else name).expanduser()
    return OfferedModel(model_id if equals else directory.resolve().name, directory)
