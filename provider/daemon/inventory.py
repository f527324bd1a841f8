"""The models that this machine offers, as the wire describes them.

Invariant: `version` grows with every change of an entry; changes happen on the trio thread.
"""

from collections.abc import Sequence
from dataclasses import replace

import trio

from protocol.messages.from_provider import ModelEntry
from provider.daemon.options import OfferedModel
from provider.daemon.weight_hashes import WeightHashes
from provider.models.facts import FolderUnusable, ModelFacts, read_facts
from provider.models.source import ModelSource
from provider.models.templates.checker import TemplateChecker


class ModelUnusable(Exception):
    """A folder holds no model; the text names it and the remedy."""


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

    def facts(self) -> tuple[ModelFacts, ...]:
        """Give what is known of all models."""
        return tuple(self._facts.values())

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._facts

    def entries(self) -> tuple[ModelEntry, ...]:
        """Give the wire form of all models; a hash that was not taken yet is left out.

        Nothing is offered as a vision model, because the engine takes text only.
        """
        return tuple(
            ModelEntry(
                id=facts.model_id,
                size_bytes=facts.disk_bytes,
                model_type=facts.model_type,
                quantization=facts.quantization,
                weight_hash=self._hashes.known(facts.model_id),
                template_render_ok=facts.template_render_ok,
                estimated_memory_gb=facts.estimated_memory_gb,
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
        facts = self._facts.get(model_id)
        return facts is not None and self._hashes.refresh(model_id, facts.directory)

    def drop_stale_hash(self, model_id: str) -> bool:
        """Forget a hash whose files changed; quick, for worker threads. Gives whether `note_change` is due."""
        facts = self._facts.get(model_id)
        return facts is not None and self._hashes.drop_if_changed(model_id, facts.directory)

    def replace(self, facts: Sequence[ModelFacts]) -> None:
        """Offer exactly these models from now on; what was found out about a template stays known."""
        self._facts = {entry.model_id: self._with_verdict(entry) for entry in facts}
        self.note_change()

    def _with_verdict(self, facts: ModelFacts) -> ModelFacts:
        known = self._facts.get(facts.model_id)
        if facts.template_render_ok is not None or known is None or known.directory != facts.directory:
            return facts
        return replace(facts, template_render_ok=known.template_render_ok)

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
    """Read the folders of all models and try their chat templates; blocks.

    Raises `ModelUnusable` for the first that cannot be offered.
    """
    facts: dict[str, ModelFacts] = {}
    with TemplateChecker() as checker:
        for model in offered:
            if model.model_id in facts:
                raise ModelUnusable(f"The model {model.model_id} is listed twice; list it once.")
            facts[model.model_id] = _read_model(model, checker)
    return list(facts.values())


def _read_model(model: OfferedModel, checker: TemplateChecker) -> ModelFacts:
    try:
        facts = read_facts(model.model_id, model.directory)
    except FolderUnusable as why:
        raise ModelUnusable(
            f"The folder {model.directory} holds no model: {why}; download {model.model_id} again."
        ) from None
    return replace(facts, template_render_ok=checker.check_folder(model.directory, is_vision=facts.is_vision))
