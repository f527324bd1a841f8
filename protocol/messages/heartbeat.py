"""`heartbeat` and `capacity_quote`: liveness, counters and free capacity of a provider."""

from typing import ClassVar, TypeAlias

import msgspec

from protocol.messages.wire import Int, Message, Wire, written_empty

Scalar: TypeAlias = bool | Int | float | str | None


class Stats(Wire, frozen=True, kw_only=True):
    """Counters since the provider process started; a value below the previous one means a restart."""

    requests_served: Int = msgspec.field(default_factory=int)
    tokens_generated: Int = msgspec.field(default_factory=int)
    cancellations_received: Int = 0
    cancellations_before_output: Int = 0
    cancellations_partial_complete: Int = 0
    generation_errors_after_output: Int = 0
    chunk_encryption_errors: Int = 0
    stream_closed_without_terminal: Int = 0
    cancel_during_model_load: Int = 0
    usage_gaps: Int = 0
    cancel_stage_pre_accept_total: Int = 0
    cancel_stage_pre_engine_total: Int = 0
    cancel_stage_prefill_total: Int = 0
    cancel_stage_decode_total: Int = 0
    cancel_stage_post_terminal_total: Int = 0
    tokens_after_cancel_total: Int = 0
    cancel_abort_ns_sum: Int = 0


class SystemMetrics(Wire, frozen=True, kw_only=True):
    """Load of the machine: memory and CPU as fractions of 1, thermal state as the operating system names it."""

    memory_pressure: float = msgspec.field(default_factory=float)
    cpu_usage: float = msgspec.field(default_factory=float)
    thermal_state: str = msgspec.field(default_factory=str)


class Slot(Wire, frozen=True, kw_only=True):
    """One loaded or loading model; token numbers are charged tokens, `None` means not measured."""

    model: str = msgspec.field(default_factory=str)
    state: str = msgspec.field(default_factory=str)
    num_running: Int = msgspec.field(default_factory=int)
    num_waiting: Int = msgspec.field(default_factory=int)
    max_concurrency: Int = 0
    active_tokens: Int = msgspec.field(default_factory=int)
    max_tokens_potential: Int = msgspec.field(default_factory=int)
    observed_decode_tps: float | None = None
    observed_prefill_tps: float | None = None
    active_token_budget_used: Int = 0
    active_token_budget_max: Int = 0
    queued_token_budget: Int = 0
    kv_bytes_per_token: Int = 0
    model_load_time_ms: Int = 0
    steps_executed: Int = 0
    admits: Int = 0
    first_tokens_emitted: Int = 0
    seconds_since_last_step: float | None = None
    seconds_since_last_first_token: float | None = None
    wedge_suspected: bool = False
    eval_in_flight_ms: Int = 0
    idle_clear_in_flight_ms: Int = 0
    kv_backend: str | None = None
    kv_backend_fallback_reason: str | None = None


class CapacityTelemetry(Wire, frozen=True, kw_only=True):
    """What is only measured, nothing is decided by it; kinds of providers write the same member in different types.

    Ours: `memory_pressure_level` is `none`, `warning` or `critical`; `in_admission` counts requests without a row,
    `inflight_tasks` those that hold their model.
    """

    low_power_mode: Scalar = None
    memory_pressure_level: Scalar = None
    in_admission: Scalar = None
    inflight_tasks: Scalar = None


class BackendCapacity(Wire, frozen=True, kw_only=True):
    """Capacity of the machine in GiB; `free_for_load_gb` 0 means no load possible, None means not reported."""

    slots: tuple[Slot, ...] = msgspec.field(default_factory=written_empty)
    gpu_memory_active_gb: float = msgspec.field(default_factory=float)
    gpu_memory_peak_gb: float = msgspec.field(default_factory=float)
    gpu_memory_cache_gb: float = msgspec.field(default_factory=float)
    total_memory_gb: float = msgspec.field(default_factory=float)
    free_for_load_gb: float | None = None
    capacity_seq: Int = 0
    telemetry: CapacityTelemetry | None = None


class Heartbeat(Message, frozen=True, kw_only=True):
    """Liveness and load. Absent `warm_models` means none; absent `backend_capacity` clears the stored one."""

    TYPE: ClassVar[str] = "heartbeat"

    status: str = msgspec.field(default_factory=str)
    active_model: str | None = None
    stats: Stats = msgspec.field(default_factory=Stats)
    warm_models: tuple[str, ...] = ()
    system_metrics: SystemMetrics = msgspec.field(default_factory=SystemMetrics)
    backend_capacity: BackendCapacity | None = None
    apns_device_token: str = ""
    apns_environment: str = ""
    idle_unload_mins: float | None = None


class CapacityQuote(Message, frozen=True, kw_only=True):
    """Advisory answer to a `capacity_probe`; it reserves nothing."""

    TYPE: ClassVar[str] = "capacity_quote"

    quote_id: str = msgspec.field(default_factory=str)
    capacity_seq: Int = msgspec.field(default_factory=int)
    admissible_now: bool = msgspec.field(default_factory=bool)
    rejection_reason: str = ""
    ttft_p50_ms: float | None = None
    ttft_p90_ms: float | None = None
    queue_est_ms: float | None = None
    available_token_budget: Int | None = None
    confidence: str = ""
