"""Settings of a request's way: relay and routing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from protocol.settings import (
    Secret,
    boolean,
    choice,
    duration,
    integer,
    number,
    path,
    secret,
    setting,
    size,
    words,
)

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class RequestSettings:
    """Durations in seconds, sizes in bytes."""

    # --- relay ---
    first_content_base: float = setting(
        "FIRST_CONTENT_BASE",
        duration(0.1, 600),
        default=5.0,
        group="Relay",
        meaning="Time for the first content of a request, over all its attempts.",
    )
    first_content_per_token: float = setting(
        "FIRST_CONTENT_PER_TOKEN",
        duration(0, 1),
        default=0.001,
        group="Relay",
        meaning="What each estimated prompt token adds to it.",
    )
    cache_scope_secret: Secret | None = setting(
        "CACHE_SCOPE_SECRET",
        secret(),
        default=None,
        group="Relay",
        meaning="Key of the scopes under which providers may cache prompts; without it a random one for each start.",
    )
    max_attempts: int = setting(
        "MAX_ATTEMPTS", integer(1, 64), default=8, group="Relay", meaning="Providers that one request may try."
    )
    chunk_gap_timeout: float = setting(
        "CHUNK_GAP_TIMEOUT",
        duration(0.1, 86400),
        default=600.0,
        group="Relay",
        meaning="Silence of a provider in a started answer that ends it.",
    )
    stream_keep_alive: float = setting(
        "STREAM_KEEP_ALIVE",
        duration(0.1, 600),
        default=15.0,
        group="Relay",
        meaning="Silence in a started stream after which a comment line is sent.",
    )
    settle_grace: float = setting(
        "SETTLE_GRACE",
        duration(0, 600),
        default=30.0,
        group="Relay",
        meaning="How long the completion of a request is awaited whose consumer left.",
    )
    chunk_queue: int = setting(
        "CHUNK_QUEUE", integer(1, 65536), default=256, group="Relay", meaning="Chunks that may wait for one consumer."
    )
    chunk_queue_bytes: int = setting(
        "CHUNK_QUEUE_BYTES",
        size(4096, 64 * _MIB),
        default=_MIB,
        group="Relay",
        meaning="Bytes that may wait for one consumer.",
    )
    chunk_spill: int = setting(
        "CHUNK_SPILL",
        integer(1, 65536),
        default=64,
        group="Relay",
        meaning="Chunks that may arrive beyond `CHUNK_QUEUE` while the consumer takes none; one more ends its answer.",
    )
    chunk_spill_bytes: int = setting(
        "CHUNK_SPILL_BYTES",
        size(4096, 64 * _MIB),
        default=_MIB,
        group="Relay",
        meaning="Bytes that may wait beyond `CHUNK_QUEUE_BYTES` during the grace; one more ends the answer.",
    )
    chunk_overflow_grace: float = setting(
        "CHUNK_OVERFLOW_GRACE",
        duration(0, 60),
        default=0.25,
        group="Relay",
        meaning="How long chunks may wait beyond the full queue before the answer is ended.",
    )

    # --- routing ---
    queue_max_depth: int = setting(
        "QUEUE_MAX_DEPTH",
        integer(0, 65536),
        default=32,
        group="Routing",
        meaning="Requests that may wait for one model.",
    )
    queue_max_wait: float = setting(
        "QUEUE_MAX_WAIT",
        duration(0, 3600),
        default=120.0,
        group="Routing",
        meaning="How long a request may wait for a provider.",
    )
    queue_before_shed: bool = setting(
        "QUEUE_BEFORE_SHED",
        boolean(),
        default=True,
        group="Routing",
        meaning="Let requests wait when all providers of a model are full; otherwise refuse them.",
    )
    min_decode_tps: float = setting(
        "MIN_DECODE_TPS",
        number(0, 100_000),
        default=15.0,
        group="Routing",
        meaning="Tokens a second that a request must be able to expect; 0: off.",
    )
    quality_cap: bool = setting(
        "QUALITY_CAP",
        boolean(),
        default=True,
        group="Routing",
        meaning="Limit batches so that each request keeps its pace.",
    )
    quality_cap_overcommit: float = setting(
        "QUALITY_CAP_OVERCOMMIT",
        number(0.1, 100),
        default=1.2,
        group="Routing",
        meaning="Factor on the limit of `QUALITY_CAP`.",
    )
    cost_model: Literal["v1", "v2"] = setting(
        "COST_MODEL",
        choice("v1", "v2"),
        default="v2",
        group="Routing",
        meaning="How a request is priced on a provider: `v1` by queue and reserved tokens, `v2` by expected delivery.",
    )
    cache_routing: bool = setting(
        "CACHE_ROUTING",
        boolean(),
        default=True,
        group="Routing",
        meaning="Prefer the provider that holds the beginning of a conversation, as its own answers showed.",
    )
    cache_ttl: float = setting(
        "CACHE_TTL",
        duration(1, 86400),
        default=600.0,
        group="Routing",
        meaning="How long a provider is believed to hold what it computed.",
    )
    cache_max_ms: float = setting(
        "CACHE_MAX_MS",
        number(0, 600_000),
        default=5_000.0,
        group="Routing",
        meaning="Most milliseconds to the first token for which such a provider is preferred; "
        "0: only where it costs no more all the same.",
    )
    cache_max_fraction: float = setting(
        "CACHE_MAX_FRACTION",
        number(0, 1),
        default=0.35,
        group="Routing",
        meaning="Largest share of a provider's cost that this takes off.",
    )
    tps_load_factor: float = setting(
        "TPS_LOAD_FACTOR",
        number(0, 10),
        default=0.39,
        group="Routing",
        meaning="How much one more request in a batch slows each of them.",
    )
    prefill_decode_ratio: float = setting(
        "PREFILL_DECODE_RATIO",
        number(0.1, 1000),
        default=12.0,
        group="Routing",
        meaning="Prompt speed over answer speed, where a provider measured none.",
    )
    servability_gate: bool = setting(
        "SERVABILITY_GATE",
        boolean(),
        default=True,
        group="Routing",
        meaning="Refuse at once what no provider could ever serve.",
    )
    ttft_hard_reject: bool = setting(
        "TTFT_HARD_REJECT",
        boolean(),
        default=False,
        group="Routing",
        meaning="Refuse requests whose first content is expected after their deadline.",
    )
    reject_models: tuple[str, ...] = setting(
        "REJECT_MODELS", words(), default=(), group="Routing", meaning="Models that are not served for now."
    )
    dedicated_models: tuple[str, ...] = setting(
        "DEDICATED_MODELS",
        words(),
        default=(),
        group="Routing",
        meaning="Model families that get providers of their own.",
    )
    model_catalog: Path | None = setting(
        "MODEL_CATALOG",
        path(),
        default=None,
        group="Routing",
        meaning="TOML file with `[[models]]` entries; without it every advertised model is served.",
    )
