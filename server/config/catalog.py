"""Settings of the model catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.settings import setting, url


@dataclass(frozen=True, kw_only=True)
class CatalogSettings:
    """Where the published bytes of models lie; the coordinator itself never passes them on."""

    model_cdn_url: str | None = setting(
        "MODEL_CDN_URL",
        url("http", "https"),
        default=None,
        group="Catalogue",
        meaning="Where the files of published models are downloaded from; with it, publishing checks every file there.",
    )
