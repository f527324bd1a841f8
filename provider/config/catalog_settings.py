"""Settings of the models on disk: where they are kept and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.settings import path, setting, url


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Where models are."""

    models_cache_dir: Path = setting(
        "MODELS_CACHE_DIR",
        path(),
        default=Path("~/.cache/huggingface/hub"),
        group="Models",
        meaning="Directory of the models on this machine, in the layout of the Hugging Face hub.",
    )
    model_cdn_url: str | None = setting(
        "MODEL_CDN_URL",
        url("http", "https"),
        default=None,
        group="Models",
        meaning="Server that models are downloaded from; by default the one that the coordinator names.",
    )

    @property
    def models_directory(self) -> Path:
        """The model cache with `~` replaced."""
        return self.models_cache_dir.expanduser()
