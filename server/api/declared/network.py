"""Declarations of health, versions, evidence and the numbers of the network."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.declared.forms import JsonObject, Moment, Window
from server.api.declared.models import NOT_CHANGED
from server.openapi.operation import PLAIN, Also, Operation, Parameter


class Health(msgspec.Struct, kw_only=True):
    """The process lives."""

    status: Literal["ok"]
    providers: int
    version: str
    build_commit: str
    draining: bool | UnsetType = UNSET


class Readiness(msgspec.Struct, kw_only=True):
    """Whether the process takes requests, and why not."""

    draining: bool
    inflight: int
    ready: bool
    health_reason: str | UnsetType = UNSET


class EncryptionKey(msgspec.Struct, kw_only=True):
    """The key to which requests are sealed: base64 of 32 bytes."""

    kid: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    public_key: str
    algorithm: Literal["x25519-nacl-box"]


class AttestedMachine(msgspec.Struct, kw_only=True):
    """What is proven about one machine, and what it signed of itself."""

    provider_id: str
    chip_name: str
    hardware_model: str
    trust_level: Literal["none", "self_signed", "hardware"]
    status: str
    memory_gb: int
    gpu_cores: int
    models: list[str]
    secure_enclave: bool
    sip_enabled: bool
    secure_boot_enabled: bool
    authenticated_root_enabled: bool
    se_public_key: str
    mdm_verified: bool
    acme_verified: bool
    mda_verified: bool
    system_volume_hash: str | UnsetType = UNSET
    mda_os_version: str | UnsetType = UNSET
    mda_sepos_version: str | UnsetType = UNSET


class AttestationFeed(msgspec.Struct, kw_only=True):
    """All machines that serve the public."""

    providers: list[AttestedMachine]
    verification_instructions: str


class CpuCores(msgspec.Struct, kw_only=True):
    """Processor cores by kind."""

    total: int
    performance: int
    efficiency: int


class StatsMachine(msgspec.Struct, kw_only=True):
    """One machine under a pseudonym; the counters are its own."""

    id: str
    chip: str
    chip_family: str
    chip_tier: str
    machine_model: str
    memory_gb: int
    gpu_cores: int
    cpu_cores: CpuCores
    memory_bandwidth_gbs: float
    status: str
    trust_level: str
    decode_tps: float
    requests_served: int
    tokens_generated: int
    models: list[str]
    current_model: str | None


class StatsModel(msgspec.Struct, kw_only=True):
    """How many machines offer a model."""

    id: str
    providers: int


class StatsMinute(msgspec.Struct, kw_only=True):
    """What was done in one span of time, which begins at `timestamp`."""

    timestamp: Moment
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Stats(msgspec.Struct, kw_only=True):
    """The network in numbers; totals come from the books."""

    total_requests: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    avg_tokens_per_request: float
    active_providers: int
    total_gpu_cores: int
    total_cpu_cores: int
    total_memory_gb: int
    total_bandwidth_gbs: float
    network_capacity_tps: float
    providers: list[StatsMachine]
    models: list[StatsModel]
    time_series: list[StatsMinute]
    snapshot_at: Moment


class LeaderboardRow(msgspec.Struct, kw_only=True):
    """One owner under a pseudonym."""

    rank: int
    pseudonym: str
    earnings_micro_usd: int
    work_earnings_micro_usd: int
    reward_earnings_micro_usd: int
    tokens: int
    jobs: int


class Leaderboard(msgspec.Struct, kw_only=True):
    """The first owners by one metric."""

    metric: str
    window: str
    entries: list[LeaderboardRow]
    updated_at: Moment


class NetworkTotals(msgspec.Struct, kw_only=True):
    """Sums over all owners."""

    window: str
    earnings_micro_usd: int
    work_earnings_micro_usd: int
    reward_earnings_micro_usd: int
    tokens: int
    jobs: int
    active_accounts: int
    updated_at: Moment


class NetworkSeries(msgspec.Struct, kw_only=True):
    """What was done in each bucket of a window, oldest first; only buckets that are over."""

    window: str
    bucket_seconds: int
    buckets: list[StatsMinute]
    end_at: Moment


class ProgramVersion(msgspec.Struct, kw_only=True):
    """The newest release of the provider program, or this coordinator's version where there is none."""

    version: str
    download_url: str
    platform: str | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    binary_hash: str | UnsetType = UNSET
    bundle_hash: str | UnsetType = UNSET
    metallib_hash: str | UnsetType = UNSET
    changelog: str | UnsetType = UNSET


class ReleaseAnswer(msgspec.Struct, kw_only=True):
    """A release of the provider program."""

    version: str
    platform: str
    binary_hash: str
    bundle_hash: str
    url: str
    changelog: str
    active: bool
    created_at: Moment
    backend: str | UnsetType = UNSET
    metallib_hash: str | UnsetType = UNSET
    python_hash: str | UnsetType = UNSET
    runtime_hash: str | UnsetType = UNSET
    template_hashes: str | UnsetType = UNSET
    signature: str | UnsetType = UNSET


class RuntimeManifestAnswer(msgspec.Struct, kw_only=True):
    """The runtimes that may serve."""

    configured: bool
    python_hashes: list[str] | UnsetType = UNSET
    runtime_hashes: list[str] | UnsetType = UNSET
    template_hashes: dict[str, list[str]] | UnsetType = UNSET


_PLATFORM: Final = Parameter(name="platform", meaning="Such as `macos-arm64`, which is the default.")
_CHANNEL: Final = Parameter(
    name="channel", meaning="`dev` counts versions for testers too.", kind=Literal["stable", "dev"]
)
_WINDOW: Final = Parameter(name="window", meaning="The period.", kind=Window)

NETWORK: Final[tuple[Operation, ...]] = (
    Operation(
        method="GET",
        path="/health",
        family="Network",
        summary="Tell that the process lives",
        auth="none",
        answer=Health,
    ),
    Operation(
        method="GET",
        path="/readyz",
        family="Network",
        summary="Tell whether requests are taken",
        auth="none",
        answer=Readiness,
        also=(Also(status=503, meaning="Not ready.", kind=Readiness),),
    ),
    Operation(
        method="GET",
        path="/metrics",
        family="Network",
        summary="Read the metrics",
        auth="metrics",
        answer=str,
        answer_media=PLAIN,
        also=(Also(status=200, meaning="", kind=str, media="application/openmetrics-text"),),
    ),
    Operation(
        method="GET",
        path="/openapi.json",
        family="Network",
        summary="Read this description",
        auth="none",
        answer=JsonObject,
        also=(NOT_CHANGED,),
    ),
    Operation(
        method="GET",
        path="/reference",
        family="Network",
        summary="Read this description as a page",
        auth="none",
        answer=str,
        answer_media="text/html",
        also=(NOT_CHANGED,),
    ),
    Operation(
        method="GET",
        path="/reference/{file}",
        family="Network",
        summary="Get a part of that page",
        auth="none",
        answer=str,
        answer_media="text/css",
        also=(NOT_CHANGED,),
    ),
    Operation(
        method="GET",
        path="/v1/encryption-key",
        family="Network",
        summary="Get the key for sealed requests",
        auth="none",
        answer=EncryptionKey,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/v1/providers/attestation",
        family="Network",
        summary="List what is proven about the machines that serve",
        auth="none",
        answer=AttestationFeed,
        also=(NOT_CHANGED,),
    ),
    Operation(
        method="GET",
        path="/v1/stats",
        family="Network",
        summary="Show the network in numbers",
        auth="none",
        answer=Stats,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/v1/leaderboard",
        family="Network",
        summary="Show who earned most, under pseudonyms",
        auth="none",
        parameters=(
            Parameter(name="metric", meaning="What counts.", kind=Literal["earnings", "tokens", "jobs"]),
            _WINDOW,
            Parameter(name="limit", meaning="How many entries.", kind=Annotated[int, Meta(ge=1, le=200)]),
        ),
        answer=Leaderboard,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/v1/network/totals",
        family="Network",
        summary="Sum up what was earned",
        auth="none",
        parameters=(_WINDOW,),
        answer=NetworkTotals,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/v1/network/series",
        family="Network",
        summary="Show what was done over time",
        auth="none",
        parameters=(Parameter(name="window", meaning="The period.", kind=Literal["30m", "24h", "7d", "30d"]),),
        answer=NetworkSeries,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/api/version",
        family="Network",
        summary="Show the newest version of the provider program",
        auth="none",
        parameters=(_PLATFORM, _CHANNEL),
        answer=ProgramVersion,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/v1/releases/latest",
        family="Network",
        summary="Get the newest release of the provider program",
        auth="none",
        parameters=(_PLATFORM, _CHANNEL),
        answer=ReleaseAnswer,
        also=(NOT_CHANGED,),
        errors=(503,),
    ),
    Operation(
        method="GET",
        path="/v1/runtime/manifest",
        family="Network",
        summary="List the runtimes that may serve",
        auth="none",
        answer=RuntimeManifestAnswer,
        also=(NOT_CHANGED,),
    ),
)
