"""Declarations of the model lists."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import JsonObject, Moment
from server.openapi.operation import NO_BODY, Also, OneOf, Operation, Parameter

Price = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
"""US dollars as a decimal text without exponent."""
Kind = Literal["text", "image", "audio", "embedding"]


class Pricing(msgspec.Struct, kw_only=True):
    """Prices in US dollars, per token where they are about tokens."""

    prompt: Price
    completion: Price
    image: Price
    request: Price
    input_cache_read: Price


class ModelAttestation(msgspec.Struct, kw_only=True):
    """What all attested machines of a model have."""

    secure_enclave: bool
    sip_enabled: bool
    secure_boot: bool


class ModelMetadata(msgspec.Struct, kw_only=True):
    """Who serves a model now."""

    model_type: str
    quantization: str
    provider_count: int
    attested_providers: int
    trust_level: str
    attestation: ModelAttestation
    display_name: str
    routable_providers: int
    warm_providers: int
    can_accept: bool


class Model(msgspec.Struct, kw_only=True):
    """One model, for OpenAI's clients and for resellers."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    input_modalities: list[str]
    output_modalities: list[str]
    supported_sampling_parameters: list[str]
    supported_features: list[str]
    metadata: ModelMetadata
    name: str | UnsetType = UNSET
    hugging_face_id: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    quantization: str | UnsetType = UNSET
    context_length: int | UnsetType = UNSET
    max_output_length: int | UnsetType = UNSET
    deprecation_date: str | UnsetType = UNSET
    pricing: Pricing | UnsetType = UNSET


class ModelListAnswer(msgspec.Struct, kw_only=True):
    """All models that the key may use."""

    object: Literal["list"]
    data: list[Model]


class AnthropicModel(msgspec.Struct, kw_only=True):
    """One model, for Anthropic's clients."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: Moment


class AnthropicModels(msgspec.Struct, kw_only=True):
    """All models that the key may use, on one page, for Anthropic's clients."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class ResoldModel(msgspec.Struct, kw_only=True):
    """One model, as OpenRouter lists it."""

    id: str
    name: str
    created: int
    input_modalities: list[str]
    output_modalities: list[str]
    quantization: str
    context_length: int
    max_output_length: int
    pricing: Pricing
    supported_sampling_parameters: list[str]
    supported_features: list[str]
    is_ready: bool
    hugging_face_id: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    deprecation_date: str | UnsetType = UNSET


class ResoldModels(msgspec.Struct, kw_only=True):
    """All models that may be resold, whether or not they are served now."""

    data: list[ResoldModel]


class ModelCapacityRow(msgspec.Struct, kw_only=True):
    """Room of one model; times in milliseconds, rates in tokens a second."""

    id: str
    ready: bool
    can_accept: bool
    routable_providers: int
    warm_providers: int
    running_providers: int
    cold_providers: int
    active_requests: int
    queued_requests: int
    queue_limit: int
    aggregate_tps: float
    estimated_ttft_ms: int
    token_budget_remaining: int
    token_budget_total: int


class ModelCapacityAnswer(msgspec.Struct, kw_only=True):
    """Room of every model that somebody serves; two seconds old at most."""

    models: list[ModelCapacityRow]


class CatalogModelAnswer(msgspec.Struct, kw_only=True):
    """One entry of the catalogue; "" and 0 where something is not known. Sizes in decimal GB, memory in GiB."""

    id: str
    display_name: str
    family: str
    architecture: str
    quantization: str
    description: str
    model_type: Kind
    status: Literal["beta", "active", "deprecated", "retired"]
    active: bool
    size_gb: float
    total_size_bytes: int
    file_count: int
    min_ram_gb: int
    max_context_length: int
    max_output_length: int
    capabilities: list[str]
    runtime_parameters: JsonObject
    hugging_face_id: str
    deprecation_date: str | None
    version: str
    r2_prefix: str
    s3_name: str
    aggregate_sha256: str
    weight_hash: str
    created_at: Moment
    updated_at: Moment


class PublicAlias(msgspec.Struct, kw_only=True):
    """A public name and the builds behind it."""

    id: str
    display_name: str
    desired_build: str
    previous_build: str | None


class CatalogAnswer(msgspec.Struct, kw_only=True):
    """What may be served, and where its files are downloaded from."""

    models: list[CatalogModelAnswer]
    aliases: list[PublicAlias]
    cdn_url: str | None


class ManifestFileAnswer(msgspec.Struct, kw_only=True):
    """One file of a version."""

    path: str
    size_bytes: int
    sha256: str
    role: str


class ManifestAnswer(msgspec.Struct, kw_only=True):
    """The files of a published version; download each from `{cdn}/{r2_prefix}/{path}`."""

    schema_version: int
    model_id: str
    version: str
    r2_prefix: str
    aggregate_sha256: str
    total_size_bytes: int
    file_count: int
    files: list[ManifestFileAnswer]
    created_at: str


NOT_CHANGED: Final = Also(status=304, meaning="The copy that `If-None-Match` names is still right.", kind=NO_BODY)
_SHAPE: Final = Parameter(
    name="anthropic-version", meaning="If it is sent, the answer has Anthropic's shape.", where="header"
)
_SELF: Final = Parameter(
    name="X-Darkbloom-Route", meaning="`self`: what the caller's own machines serve.", where="header"
)

MODELS: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/v1/models",
        family="Models",
        summary="List models",
        auth="key",
        meaning="Public names: aliases, and builds that stand behind none. A key sees what it may use.",
        parameters=(
            Parameter(name="include_builds", meaning="`1` lists builds behind aliases too."),
            _SHAPE,
            _SELF,
        ),
        answer=OneOf((ModelListAnswer, AnthropicModels)),
    ),
    Operation(
        method="GET",
        path="/v1/models/{model}",
        family="Models",
        summary="Show a model",
        auth="key",
        meaning="Ids hold slashes; send them as they are.",
        parameters=(_SHAPE, _SELF),
        answer=OneOf((Model, AnthropicModel)),
    ),
    Operation(
        method="GET",
        path="/v1/models/openrouter",
        family="Models",
        summary="List models for resellers",
        auth="key",
        meaning="OpenRouter's form. It follows the catalogue, so that the restart of a machine takes nothing off it.",
        answer=ResoldModels,
    ),
    Operation(
        method="GET",
        path="/v1/models/capacity",
        family="Models",
        summary="Show the room of each model",
        auth="none",
        answer=ModelCapacityAnswer,
    ),
    Operation(
        method="GET",
        path="/v1/models/catalog",
        family="Models",
        summary="List the catalogue",
        auth="none",
        meaning="What machines may download and serve.",
        parameters=(Parameter(name="type", meaning="Only models of this type.", kind=Kind),),
        answer=CatalogAnswer,
        also=(NOT_CHANGED,),
    ),
    Operation(
        method="GET",
        path="/v1/models/catalog/{model}",
        family="Models",
        summary="Show an entry of the catalogue",
        auth="none",
        answer=CatalogModelAnswer,
        also=(NOT_CHANGED,),
    ),
    Operation(
        method="GET",
        path="/v1/models/catalog/manifest/{model}",
        family="Models",
        summary="Show the files of a published version",
        auth="none",
        parameters=(Parameter(name="version", meaning="Another version than the one that is served."),),
        answer=ManifestAnswer,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
)
