"""Models in the form that OpenRouter reads from its providers: every member that it requires, never null."""

from __future__ import annotations

from typing import Final

from protocol.api.chat_request import DEFAULT_OUTPUT_TOKENS
from protocol.api.models import SAMPLING_PARAMETERS, ModelDescription, ModelPrice, price_texts

_QUANTIZATIONS: Final = {
    "3bit": "int4",
    "4bit": "int4",
    "6bit": "fp6",
    "8bit": "int8",
    "bf16": "bf16",
    "f16": "fp16",
    "fp16": "fp16",
    "fp32": "fp32",
    "fp4": "fp4",
    "fp6": "fp6",
    "fp8": "fp8",
    "int4": "int4",
    "int8": "int8",
}
UNKNOWN: Final = "unknown"
_FREE: Final = ModelPrice(input_micro_usd=0, output_micro_usd=0)


def openrouter_list(descriptions: list[ModelDescription]) -> dict[str, object]:
    """The whole answer, sorted by id."""
    return {"data": [_entry(one) for one in sorted(descriptions, key=lambda one: one.model)]}


def _entry(one: ModelDescription) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": one.model,
        "name": one.name or one.model,
        "created": one.created,
        "input_modalities": list(one.input_modalities),
        "output_modalities": ["text"],
        "quantization": _QUANTIZATIONS.get((one.quantization or "").lower(), UNKNOWN),
        "context_length": one.context_length or 0,
        "max_output_length": one.max_output_length or DEFAULT_OUTPUT_TOKENS,
        "pricing": price_texts(one.price or _FREE),
        "supported_sampling_parameters": list(SAMPLING_PARAMETERS),
        "supported_features": list(one.features),
        "is_ready": one.routable_providers > 0,
    }
    optional = {
        "hugging_face_id": one.hugging_face_id,
        "description": one.description,
        "deprecation_date": one.deprecation_date,
    }
    return entry | {name: value for name, value in optional.items() if value}
