"""Where a model comes from, and why one cannot be made resident."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provider.engine import LoadedModel
from provider.models.load import load_model

RefusalKind = Literal["unknown_model", "no_slot", "memory", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model on disk; `disk_bytes` is the size of its weight files."""

    model_id: str
    directory: Path
    disk_bytes: int
    max_context_tokens: int | None = None


class LoadRefused(Exception):
    """The model cannot be made resident; `kind` is a closed set, the text is fit for a wire error."""

    def __init__(self, kind: RefusalKind, text: str) -> None:
        self.kind: RefusalKind = kind
        super().__init__(text)


def load_from_source(source: ModelSource) -> LoadedModel:
    """Load a model with mlx-lm; blocks."""
    return load_model(source.model_id, source.directory, max_context_tokens=source.max_context_tokens)
