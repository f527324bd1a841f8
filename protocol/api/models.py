"""Entries of the public model list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

SAMPLING_PARAMETERS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "stop",
    "seed",
    "max_tokens",
)
OWNER: Final = "darkbloom"
SELF_OWNER: Final = "self"
"""Owner of a model that the caller's own machines serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """Prices in integer micro-USD per million tokens."""

    input_micro_usd: int
    output_micro_usd: int
    cache_read_micro_usd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What the list says about one public model; None and empty mean unknown and are left out."""

    model: str
    created: int = 0
    owned_by: str = OWNER
    name: str | None = None
    description: str | None = None
    hugging_face_id: str | None = None
    context_length: int | None = None
    max_output_length: int | None = None
    quantization: str | None = None
    input_modalities: tuple[str, ...] = ("text",)
    features: tuple[str, ...] = ()
    price: ModelPrice | None = None
    model_type: str | None = None
    deprecation_date: str | None = None
    provider_count: int = 0
    attested_providers: int = 0
    trust_level: str = "none"
    secure_enclave: bool = False
    sip_enabled: bool = False
    secure_boot: bool = False
    routable_providers: int = 0
    warm_providers: int = 0
    can_accept: bool = False


def usd_per_token(micro_usd_per_million: int) -> str:
    """An exact decimal without exponent: 60000 → "0.00000006", 0 → "0"."""
    if micro_usd_per_million <= 0:
        return "0"
    text = f"{Decimal(micro_usd_per_million).scaleb(-12):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def model_entry(description: ModelDescription) -> dict[str, object]:
    """One entry of `GET /v1/models`, readable by OpenAI clients and by aggregators."""
    entry: dict[str, object] = {
        "id": description.model,
        "object": "model",
        "created": description.created,
        "owned_by": description.owned_by,
    }
    optional = {
        "name": description.name,
        "description": description.description,
        "hugging_face_id": description.hugging_face_id,
        "quantization": description.quantization,
        "context_length": description.context_length,
        "max_output_length": description.max_output_length,
        "deprecation_date": description.deprecation_date,
    }
    entry |= {key: value for key, value in optional.items() if value}
    entry["input_modalities"] = list(description.input_modalities)
    entry["output_modalities"] = ["text"]
    if description.price is not None:
        entry["pricing"] = price_texts(description.price)
    entry["supported_sampling_parameters"] = list(SAMPLING_PARAMETERS)
    entry["supported_features"] = list(description.features)
    entry["metadata"] = {
        "model_type": description.model_type or "",
        "quantization": description.quantization or "",
        "provider_count": description.provider_count,
        "attested_providers": description.attested_providers,
        "trust_level": description.trust_level,
        "attestation": {
            "secure_enclave": description.secure_enclave,
            "sip_enabled": description.sip_enabled,
            "secure_boot": description.secure_boot,
        },
        "display_name": description.name or description.model,
        "routable_providers": description.routable_providers,
        "warm_providers": description.warm_providers,
        "can_accept": description.can_accept,
    }
    return entry


def model_list(descriptions: list[ModelDescription]) -> dict[str, object]:
    """The whole answer of `GET /v1/models`, sorted by id."""
    ordered = sorted(descriptions, key=lambda description: description.model)
    return {"object": "list", "data": [model_entry(description) for description in ordered]}


def anthropic_entry(description: ModelDescription) -> dict[str, object]:
    """The same model in Anthropic's shape."""
    created = datetime.fromtimestamp(description.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "model",
        "id": description.model,
        "display_name": description.name or description.model,
        "created_at": created,
    }


def anthropic_list(descriptions: list[ModelDescription]) -> dict[str, object]:
    """The whole list in Anthropic's shape, on one page, sorted by id."""
    ordered = sorted(descriptions, key=lambda description: description.model)
    return {
        "data": [anthropic_entry(description) for description in ordered],
        "has_more": False,
        "first_id": ordered[0].model if ordered else None,
        "last_id": ordered[-1].model if ordered else None,
    }


def price_texts(price: ModelPrice) -> dict[str, str]:
    """Prices in USD per token, as exact decimals."""
    cache_read = price.input_micro_usd if price.cache_read_micro_usd is None else price.cache_read_micro_usd
    return {
        "prompt": usd_per_token(price.input_micro_usd),
        "completion": usd_per_token(price.output_micro_usd),
        "image": "0",
        "request": "0",
        "input_cache_read": usd_per_token(cache_read),
    }
