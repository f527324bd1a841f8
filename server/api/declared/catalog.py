"""Declarations of what publishers do to the catalogue; the bodies are the very types that the endpoints read."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from server.api.declared.forms import Moment
from server.api.declared.models import CatalogModelAnswer
from server.catalog.wishes import AliasWish, FactsWish, Promotion, Registration, Removal
from server.openapi.operation import Operation


class PublishedVersion(msgspec.Struct, kw_only=True):
    """One version of a model; `active` is the one that is served."""

    version: str
    r2_prefix: str
    aggregate_sha256: str
    total_size_bytes: int
    file_count: int
    uploaded_by: str
    uploaded_at: Moment
    active: bool


class PublishedModel(CatalogModelAnswer, kw_only=True):
    """An entry with all its versions."""

    versions: list[PublishedVersion]


class PublishedModels(msgspec.Struct, kw_only=True):
    """All entries, retired ones too."""

    models: list[PublishedModel]


class ModelDone(msgspec.Struct, kw_only=True):
    """What was done, and the entry after it."""

    status: Literal["model_registered", "model_set", "model_promoted"]
    model: CatalogModelAnswer


class ModelGone(msgspec.Struct, kw_only=True):
    """The model is retired."""

    status: Literal["model_removed"]
    id: str


class AliasAnswer(msgspec.Struct, kw_only=True):
    """A public name, the build it stands for, the one to fall back to, and builds that it hides."""

    id: str
    display_name: str
    desired_build: str
    previous_build: str | None
    retired_builds: list[str]
    active: bool
    created_at: Moment
    updated_at: Moment


class Aliases(msgspec.Struct, kw_only=True):
    """All aliases, inactive ones too."""

    aliases: list[AliasAnswer]


class AliasDone(msgspec.Struct, kw_only=True):
    """The alias as it is now."""

    status: Literal["alias_saved"]
    alias: AliasAnswer


class AliasGone(msgspec.Struct, kw_only=True):
    """The alias is gone."""

    status: Literal["alias_deleted"]
    id: str


CATALOG: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/admin/models",
        family="Catalogue",
        summary="List all models with their versions",
        auth="publishing",
        answer=PublishedModels,
    ),
    Operation(
        method="POST",
        path="/v1/admin/models/register",
        family="Catalogue",
        summary="Enter a published version",
        auth="publishing",
        meaning=(
            "With a download server configured, its manifest is fetched and checked, and every file is looked for; "
            "else the manifest is taken from the body. The same version with other files is refused."
        ),
        body=Registration,
        answer=ModelDone,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/models/set",
        family="Catalogue",
        summary="Say something of a model",
        auth="publishing",
        meaning="Members that are not sent stay. A model that is not there is entered, without files.",
        body=FactsWish,
        answer=ModelDone,
        errors=(409,),
    ),
    Operation(
        method="POST",
        path="/v1/admin/models/promote",
        family="Catalogue",
        summary="Serve another version",
        auth="publishing",
        body=Promotion,
        answer=ModelDone,
    ),
    Operation(
        method="POST",
        path="/v1/admin/models/remove",
        family="Catalogue",
        summary="Retire a model",
        auth="publishing",
        body=Removal,
        answer=ModelGone,
        errors=(409,),
    ),
    Operation(
        method="GET",
        path="/v1/admin/models/aliases",
        family="Catalogue",
        summary="List aliases",
        auth="publishing",
        answer=Aliases,
    ),
    Operation(
        method="POST",
        path="/v1/admin/models/aliases",
        family="Catalogue",
        summary="Write an alias",
        auth="publishing",
        meaning="When the desired build changes and no previous one is sent, the old one becomes the previous one.",
        body=AliasWish,
        answer=AliasDone,
    ),
    Operation(
        method="DELETE",
        path="/v1/admin/models/aliases/{alias}",
        family="Catalogue",
        summary="Remove an alias",
        auth="publishing",
        answer=AliasGone,
    ),
)
