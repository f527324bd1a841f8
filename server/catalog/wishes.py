"""What publishers send: bodies of requests as typed records, and what they make of the facts that stand.

A member that is not given leaves what is there; every other rule is in the types.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType, structs

from protocol.manifest import Manifest, is_model_id
from server.billing.amounts import MAX_MONEY
from server.catalog.records import (
    MAX_PARAMETERS,
    MAX_RAM_GB,
    RESERVED_NAMES,
    Capability,
    Date,
    Line,
    ModelFacts,
    ModelType,
    Parameter,
    Status,
    Text,
    Tokens,
)
from server.store.errors import Invalid

MicroUsd = Annotated[int, msgspec.Meta(gt=0, le=MAX_MONEY)]


class FactsWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts of a model to set; see ModelFacts."""

    model_id: Line
    display_name: Line | UnsetType = UNSET
    family: Line | UnsetType = UNSET
    architecture: Line | UnsetType = UNSET
    quantization: Line | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    model_type: ModelType | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    max_context_length: Tokens | UnsetType = UNSET
    max_output_length: Tokens | UnsetType = UNSET
    min_ram_gb: Annotated[int, msgspec.Meta(ge=0, le=MAX_RAM_GB)] | UnsetType = UNSET
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=16)] | UnsetType = UNSET
    runtime_parameters: Annotated[dict[Line, Parameter], msgspec.Meta(max_length=MAX_PARAMETERS)] | UnsetType = UNSET
    hugging_face_id: Line | UnsetType = UNSET
    deprecation_date: Date | UnsetType = UNSET
    reasoning_opt_in: bool | UnsetType = UNSET

    def applied_to(self, facts: ModelFacts) -> ModelFacts:
        """The facts with the given members replaced."""
        given = {name: value for name in ModelFacts.__struct_fields__ if (value := getattr(self, name)) is not UNSET}
        return structs.replace(facts, **given)


class Registration(FactsWish, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published version to enter; prices in micro-USD per million tokens, both or neither.

    `manifest` is taken only where no download server is configured; else the server's own copy counts.
    """

    version: Line
    r2_prefix: Line = ""
    manifest: Manifest | UnsetType = UNSET
    input_price: MicroUsd | None = None
    output_price: MicroUsd | None = None
    activate: bool = True


class Promotion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version to serve from now on."""

    model_id: Line
    version: Line


class Removal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model to retire."""

    model_id: Line


class AliasWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alias to write. Without `previous_build`, a change of the desired build keeps the old one to fall back to."""

    id: Line
    desired_build: Line
    previous_build: Line | UnsetType = UNSET
    retired_builds: Annotated[tuple[Line, ...], msgspec.Meta(max_length=64)] | UnsetType = UNSET
    display_name: Line | UnsetType = UNSET
    active: bool = True


def checked_name(name: str, what: str) -> str:
    """Pass a name that can stand in a path below `/v1/models/`; raises Invalid."""
    if not is_model_id(name):
        raise Invalid(f"{what} must be 1 to 256 of A-Z a-z 0-9 . _ - and /, without .. and a leading slash.")
    if name.partition("/")[0] in RESERVED_NAMES:
        raise Invalid(f"{what} must not begin with {name.partition('/')[0]!r}, which is a path of its own.")
    return name
