"""Finding the models on this machine: names, sizes and configurations, never the content of weights."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from provider.models.architectures import known_architectures
from provider.models.facts import FolderUnusable, ModelFacts, read_facts
from provider.models.hub import HubCache, ModelFolder, SnapshotInvalid

ModelState = Literal["servable", "unsupported", "invalid"]

_QUANTIZED: Final = ("4bit", "8bit", "quantized")
_MAIN_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """One folder of the cache. `facts` is None for an invalid one; `reason` says what is wrong, "" if nothing is."""

    model_id: str
    folder: Path
    state: ModelState
    reason: str = ""
    facts: ModelFacts | None = None

    @property
    def is_servable(self) -> bool:
        """Whether this machine can offer the model."""
        return self.state == "servable"


def scan_models(
    cache: HubCache, *, architectures: Callable[[], Collection[str] | None] = known_architectures
) -> list[LocalModel]:
    """List all models of a cache by id; blocks on the disk for about a tenth of a millisecond each."""
    return [inspect_folder(folder, architectures=architectures) for folder in cache.folders()]


def inspect_folder(
    folder: ModelFolder, *, architectures: Callable[[], Collection[str] | None] = known_architectures
) -> LocalModel:
    """Judge one model of a cache; never raises for what is in it."""
    try:
        facts = read_facts(folder.model_id, folder.current())
    except (SnapshotInvalid, FolderUnusable) as why:
        return LocalModel(model_id=folder.model_id, folder=folder.path, state="invalid", reason=str(why))
    reason = _unsupported(facts, architectures())
    state: ModelState = "unsupported" if reason else "servable"
    return LocalModel(model_id=folder.model_id, folder=folder.path, state=state, reason=reason, facts=facts)


def _unsupported(facts: ModelFacts, architectures: Collection[str] | None) -> str:
    if not _is_mlx(facts):
        return "it is not in MLX format"
    if facts.has_own_code:
        return "it needs program code of its own, which is never run"
    if architectures is not None and facts.model_type not in architectures:
        return f"the engine does not know its architecture ({facts.model_type[:40] or 'none stated'})"
    return ""


def _is_mlx(facts: ModelFacts) -> bool:
    name = facts.model_id.lower()
    if "mlx" in name or any(word in name for word in _QUANTIZED):
        return True
    return any((facts.directory / file).is_file() for file in _MAIN_WEIGHTS)
