"""The content of `daemon-state.json`; its keys are stable, because dashboards read them.

Moments are Unix seconds, memory is in GiB. No secret and no text of a request ever stands here.
"""

from typing import Final

import msgspec

SCHEMA: Final = 1


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What the coordinator thinks of this machine, and since when.

    `account` is `linked`, `token_refused`, or "" where no token was shown.
    """

    level: str
    status: str
    reason: str = ""
    account: str = ""
    received_at: float = 0.0

    @property
    def token_refused(self) -> bool:
        """Whether the coordinator did not accept the token of this machine."""
        return self.account == "token_refused"


class LoadError(msgspec.Struct, frozen=True, kw_only=True):
    """The last model that could not be loaded."""

    model: str
    message: str
    at: float


class Connectivity(msgspec.Struct, frozen=True, kw_only=True):
    """The link to the coordinator. `since` is the moment of the last change between connected and not."""

    coordinator: str | None = None
    connected: bool = False
    registered: bool = False
    reconnect_count: int = 0
    last_error: str = ""
    since: float = 0.0


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """`mode` is always, scheduled-active or scheduled-off."""

    mode: str = "always"
    summary: str = "always available"
    next_change_at: float | None = None
    paused_for: str = ""
    """Why requests are refused although the schedule is open: `user_active`, or ""."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this machine is; the key is the public one."""

    provider_name: str = ""
    linked: bool = False
    public_key: str = ""


class SystemState(msgspec.Struct, frozen=True, kw_only=True):
    """The machine now, as fractions of 1."""

    memory_pressure: float = 0.0
    cpu_usage: float = 0.0
    thermal_state: str = "nominal"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The hardware, measured once."""

    chip: str = ""
    memory_gb: float = 0.0
    gpu_cores: int = 0
    bandwidth_gbs: float = 0.0


class MemoryState(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in GiB."""

    cap_gb: float = 0.0
    weights_gb: float = 0.0
    kv_gb: float = 0.0
    active_gb: float = 0.0
    peak_gb: float = 0.0
    cache_gb: float = 0.0
    free_for_load_gb: float = 0.0


class SlotState(msgspec.Struct, frozen=True, kw_only=True):
    """One loaded or loading model."""

    model: str
    state: str
    running: int = 0
    waiting: int = 0
    max_concurrency: int = 0
    decode_tps: float | None = None
    prefill_tps: float | None = None
    token_budget_used: int = 0
    token_budget_max: int = 0
    load_time_ms: int = 0
    seconds_since_last_step: float | None = None
    wedge_suspected: bool = False
    unloads_at: float | None = None


class LocalState(msgspec.Struct, frozen=True, kw_only=True):
    """The server for programs on this machine."""

    base_url: str
    requests: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the start, and what is under way."""

    requests_served: int = 0
    tokens_generated: int = 0
    in_flight: int = 0
    tokens_per_second: float = 0.0
    usage_gaps: int = 0


class DaemonState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the daemon says about itself.

    `phase` is starting, loading, serving, paused, draining or stopped. `refresh_seconds` is how often the file is
    written at least; older than that, its live figures are stale.
    """

    pid: int
    process_start: str
    version: str
    written_at: float
    started_at: float
    refresh_seconds: float
    phase: str
    schema: int = SCHEMA
    stopped_at: float | None = None
    previous_crash_at: float | None = None
    config_file: str = ""
    trust: Trust | None = None
    current_model: str | None = None
    warm_models: tuple[str, ...] = ()
    advertised_models: tuple[str, ...] = ()
    inference_active: bool = False
    engine_health: str = "good"
    stats: Totals = Totals()
    system: SystemState = SystemState()
    machine: Machine = Machine()
    capacity: MemoryState = MemoryState()
    slots: tuple[SlotState, ...] = ()
    idle_unload_minutes: float = 0.0
    last_model_load_error: LoadError | None = None
    connectivity: Connectivity = Connectivity()
    schedule: ScheduleState = ScheduleState()
    identity: Identity = Identity()
    local: LocalState | None = None
