"""What the catalogue knows: a model with its facts, the published version that is served, and public names."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

ModelType: TypeAlias = Literal["text", "image", "audio", "embedding"]
Status: TypeAlias = Literal["beta", "active", "deprecated", "retired"]
Capability: TypeAlias = Literal[
    "tools", "json_mode", "structured_outputs", "logprobs", "web_search", "reasoning", "vision", "video"
]
Parameter: TypeAlias = bool | int | float | str

MODEL_TYPES: Final[tuple[ModelType, ...]] = get_args(ModelType)
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
CAPABILITIES: Final[tuple[Capability, ...]] = get_args(Capability)
RESERVED_NAMES: Final = frozenset({"aliases", "capacity", "catalog", "manifest", "openrouter"})
"""First words of paths below `/v1/models/`: no model and no alias may begin with one of them as a path segment."""

MAX_TOKENS: Final = 2**31
MAX_RAM_GB: Final = 65_536
MAX_PARAMETERS: Final = 64

Line = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, msgspec.Meta(max_length=4096, pattern=r"^[^\x00]*$")]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
Date = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What publishers say of a model; "" and 0 mean unknown. `min_ram_gb` in GiB, lengths in tokens.

    `runtime_parameters` are what a request gets for the members that its caller left out. `reasoning_opt_in`: the model
    thinks only when it is asked to.
    """

    display_name: Line = ""
    family: Line = ""
    architecture: Line = ""
    quantization: Line = ""
    description: Text = ""
    model_type: ModelType = "text"
    status: Status = "active"
    max_context_length: Tokens = 0
    max_output_length: Tokens = 0
    min_ram_gb: Annotated[int, msgspec.Meta(ge=0, le=MAX_RAM_GB)] = 0
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=16)] = ()
    runtime_parameters: Annotated[dict[Line, Parameter], msgspec.Meta(max_length=MAX_PARAMETERS)] = {}
    hugging_face_id: Line = ""
    deprecation_date: Date = ""
    reasoning_opt_in: bool = False


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One published version of a model; times in microseconds."""

    version: str
    r2_prefix: str
    aggregate_sha256: str
    total_size_bytes: int
    file_count: int
    uploaded_by: str = ""
    uploaded_at: int = 0


class CatalogModel(msgspec.Struct, frozen=True, kw_only=True):
    """One entry; `version` is the published version that is served, None for a model without published files."""

    id: str
    facts: ModelFacts
    version: Version | None = None
    created_at: int = 0
    updated_at: int = 0

    @property
    def is_served(self) -> bool:
        """Whether providers may offer it."""
        return self.facts.status != "retired"

    @property
    def title(self) -> str:
        """The name for people."""
        return self.facts.display_name or self.id


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A public name: the build behind it, the one to fall back to, and builds that are only hidden behind it."""

    id: str
    desired_build: str
    previous_build: str = ""
    retired_builds: tuple[str, ...] = ()
    display_name: Line = ""
    active: bool = True
    created_at: int = 0
    updated_at: int = 0

    @property
    def builds(self) -> tuple[str, ...]:
        """What a request may be served by, best first."""
        return (self.desired_build, self.previous_build) if self.previous_build else (self.desired_build,)
