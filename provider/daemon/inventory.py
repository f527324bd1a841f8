"""The models that this machine offers, as the wire describes them.

Invariant: `version` grows with every change of an entry; changes happen on the trio thread.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import trio

from protocol.messages.from_provider import ModelEntry
from protocol.weight_hash import integrity_files, role_of
from provider.daemon.options import OfferedModel
from provider.daemon.weight_hashes import WeightHashes
from provider.memory.policy import GIB, padded_weights
from provider.models.source import ModelSource


class ModelUnusable(Exception):
    """A folder holds no model; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's folder says about it; `quantization` is for example `4bit`, or ""."""

    model_id: str
    directory: Path
    disk_bytes: int
    model_type: str
    quantization: str


class Inventory:
    """Trio thread only, but for the two methods on hashes that take time."""

    def __init__(self, facts: Sequence[ModelFacts], hashes: WeightHashes) -> None:
        self.version = 1
        self._facts = {entry.model_id: entry for entry in facts}
        self._hashes = hashes
        self._changed = trio.Event()

    @property
    def model_ids(self) -> tuple[str, ...]:
        """All ids, the largest model first."""
        return tuple(sorted(self._facts, key=lambda model_id: -self._facts[model_id].disk_bytes))

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._facts

    def entries(self) -> tuple[ModelEntry, ...]:
        """Give the wire form of all models; a hash that was not taken yet is left out."""
        return tuple(
            ModelEntry(
                id=facts.model_id,
                size_bytes=facts.disk_bytes,
                model_type=facts.model_type,
                quantization=facts.quantization,
                weight_hash=self._hashes.known(facts.model_id),
                estimated_memory_gb=padded_weights(facts.disk_bytes) / GIB,
            )
            for facts in self._facts.values()
        )

    def locate(self, model_id: str) -> ModelSource | None:
        """Find a model for the loader."""
        facts = self._facts.get(model_id)
        if facts is None:
            return None
        return ModelSource(model_id=model_id, directory=facts.directory, disk_bytes=facts.disk_bytes)

    def hash_of(self, model_id: str) -> str:
        """Give a model's weight hash, or ""."""
        return self._hashes.known(model_id)

    def refresh_hash(self, model_id: str) -> bool:
        """Take the hash again if files changed; blocks, for worker threads. Gives whether `note_change` is due."""
        return self._hashes.refresh(model_id, self._facts[model_id].directory)

    def drop_stale_hash(self, model_id: str) -> bool:
        """Forget a hash whose files changed; quick, for worker threads. Gives whether `note_change` is due."""
        return self._hashes.drop_if_changed(model_id, self._facts[model_id].directory)

    def note_change(self) -> None:
        """An entry changed."""
        self.version += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_change(self, seen: int) -> int:
        """Wait until `version` differs from `seen` and return it."""
        while self.version == seen:
            await self._changed.wait()
        return self.version


def read_models(offered: Sequence[OfferedModel]) -> list[ModelFacts]:
    """Read the folders of all models; blocks. Raises `ModelUnusable` for the first that cannot be offered."""
    facts: dict[str, ModelFacts] = {}
    for model in offered:
        if model.model_id in facts:
            raise ModelUnusable(f"The model {model.model_id} is listed twice; list it once.")
        facts[model.model_id] = _read_model(model)
    return list(facts.values())


def _read_model(model: OfferedModel) -> ModelFacts:
    try:
        config = json.loads((model.directory / "config.json").read_text())
        sizes = [
            (model.directory / path).stat().st_size
            for path in integrity_files(model.directory)
            if role_of(path) == "weight"
        ]
    except (OSError, ValueError):
        config, sizes = None, []
    if not isinstance(config, dict) or not sizes:
        raise ModelUnusable(
            f"The folder {model.directory} holds no model (config.json and weights); download {model.model_id} again."
        )
    return ModelFacts(
        model_id=model.model_id,
        directory=model.directory,
        disk_bytes=sum(sizes),
        model_type=str(config.get("model_type", "")),
        quantization=_quantization(cast(dict[str, object], config)),
    )


def _quantization(config: dict[str, object]) -> str:
    section = config.get("quantization", config.get("quantization_config"))
    bits = section.get("bits") if isinstance(section, dict) else None
    return f"{bits}bit" if isinstance(bits, int) else ""
