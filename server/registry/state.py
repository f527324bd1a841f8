"""The one record per provider session; every part has exactly one writer and everything else is derived.

Invariant: `ident`, `caps` and `restoring` are written by registration and model updates, `trust` by attestation, `live`
and `slots` by heartbeats (`slots` also by load acknowledgements), `ledger` by reserve and release, `loads` by the load
planner, `content_since` by the first content of an attempt and by attestation.
Invariant: `version` grows with every change, `slow_version` with every change that gates 3 to 18 read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from server.registry.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.messages.from_provider import Slot as WireSlot
    from protocol.messages.from_provider import Stats
    from server.ports import ProviderChannel, TrustState
    from server.registry.entry import Entry, Machine
    from server.registry.speed import Speed

Status = Literal["untrusted", "offline", "draining", "serving", "online"]


class SlotState(StrEnum):
    """Where the weights of a model are on one provider."""

    ABSENT = "absent"
    """On disk (or the state is not understood): must be loaded."""
    LOADING = "loading"
    RESIDENT = "resident"
    EVICTED = "evicted"
    """Weights gone, engine still warm."""
    CRASHED = "crashed"


class SlotSource(IntEnum):
    """Who said it; at equal time the higher value wins."""

    LEGACY = 0
    LOAD_ACK = 1
    CAPACITY = 2


class Budget(Struct, frozen=True, gc=False):
    """The slot's token budget in charged tokens (prompt + maximum output)."""

    max: int
    used: int = 0
    queued: int = 0


class Slot(Struct, frozen=True, gc=False):
    """One model on one provider, as last reported; rates are tokens/s, `kv_rate` is bytes per token (0: unknown)."""

    model: str
    state: SlotState = SlotState.ABSENT
    running: int = 0
    waiting: int = 0
    budget: Budget | None = None
    potential: int = 0
    kv_rate: int = 0
    tps_decode: float = 0.0
    tps_prefill: float = 0.0
    max_concurrency: int = 0
    load_time_ms: int = 0
    source: SlotSource = SlotSource.LEGACY
    as_of_seq: int = 0
    """Number of the report that first said this; 0 when the provider's reports have no numbers."""
    resident_since: float | None = None

    @property
    def occupancy(self) -> int:
        """Requests inside the engine: running + waiting."""
        return self.running + self.waiting


class ModelAd(Struct, frozen=True, gc=False):
    """One model a provider offers; sizes in bytes and GiB (padded), 0 when not reported."""

    id: str
    size_bytes: int = 0
    weight_hash: str = ""
    is_vision: bool = False
    template_render_ok: bool | None = None
    estimated_memory_gb: float = 0.0
    tool_constraint: bool = False


class Hardware(Struct, frozen=True):
    """The machine as registered; memory in GiB, bandwidth in GB/s."""

    machine_model: str = ""
    chip_name: str = ""
    chip_family: str = "Unknown"
    chip_tier: str = "Unknown"
    memory_gb: float = 0.0
    memory_bandwidth_gbs: float = 0.0
    gpu_cores: int = 0
    cpu_cores: tuple[int, int, int] = (0, 0, 0)
    """All, performance, efficiency."""

    @property
    def chip_class(self) -> str:
        """Family and tier: machines of one class are comparable in speed."""
        return f"{self.chip_family}|{self.chip_tier}"


class Ident(Struct, frozen=True):
    """Who the session is; `stable_id` survives a reconnect, `epoch` counts sessions of this process."""

    session_id: str
    stable_id: str
    account_id: str | None = None
    serials: frozenset[str] = frozenset()
    epoch: int = 0


class Caps(Struct, frozen=True):
    """What the provider registered; `public_key` is 32 raw bytes or empty."""

    hardware: Hardware
    models: Mapping[str, ModelAd]
    """The offered models that the catalogue accepts."""
    offered: tuple[ModelAd, ...] = ()
    """Everything the provider offers, so that a new catalogue can accept more of it."""
    backend: str = ""
    version: str = ""
    public_key: bytes = b""
    encrypted_chunks: bool = False
    private_only: bool = False
    decode_tps: float = 0.0
    prefill_tps: float = 0.0
    features: frozenset[str] = frozenset()
    tools_ok: bool = True
    """False when the version is below the tool floor of its backend."""
    private_grants: bool = False
    """Each slot owns its token budget; False: the slots share one headroom."""
    activation_gb: float = 3.0
    """Memory in GiB that a load of an ordinary model keeps for activations."""


class Live(Struct, frozen=True, gc=False):
    """The last heartbeat; memory in GiB, pressure and cpu in 0..1, times in seconds of the monotonic clock."""

    last_heartbeat: float
    reported_at: float = 0.0
    """When the last report was applied: what slots say is as of then."""
    capacity_seq: int = 0
    has_capacity: bool = False
    memory_pressure: float = 0.0
    cpu_usage: float = 0.0
    thermal: str = "nominal"
    gpu_active_gb: float = 0.0
    total_memory_gb: float = 0.0
    free_for_load_gb: float | None = None
    draining_until: float | None = None
    uptime_seconds: float = 0.0


class LoadState(Enum):
    """Progress of a load that this coordinator asked for."""

    REQUESTED = "requested"
    LOADING = "loading"
    BACKOFF = "backoff"


class LoadCause(Enum):
    """Why a load was asked for."""

    QUEUE = "queue"
    WARM = "warm"
    FORECAST = "forecast"
    MANUAL = "manual"


class LoadIntent(Struct, frozen=True, gc=False):
    """A pending or failed load of one model on one session."""

    state: LoadState
    expires_at: float
    started_at: float
    cause: LoadCause


NO_SLOT: Final = Slot(model="")
"""Answer for an advertised model that no report mentions."""


@dataclass(slots=True, eq=False)
class Session:
    """A live provider connection; mutated only by the writers that the module names."""

    ident: Ident
    channel: ProviderChannel
    caps: Caps
    trust: TrustState
    live: Live
    slots: dict[str, Slot] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    loads: dict[str, LoadIntent] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    """Last cumulative counters the provider process reported."""
    totals: dict[str, int] = field(default_factory=dict)
    """Lifetime totals of this session, restarts of the provider process included."""
    merged_stats: Stats | None = None
    """The counters that were merged last: the same ones again change nothing."""
    reported: tuple[tuple[WireSlot, ...], bool] | None = None
    """The reported slots from which `slots` was made, and whether the report was numbered; None when that is not so."""
    connected: bool = True
    restoring: bool = False
    content_since: dict[str, float] = field(default_factory=dict)
    """When a model of the catalogue first delivered content since its weights were last confirmed."""
    version: int = 0
    slow_version: int = 0
    speeds: dict[str, Speed] = field(default_factory=dict)
    """Rates by model as of the last change; written by the routing index."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """What the routing index holds of this session, by model; written by the index alone."""
    machine: Machine | None = None
    """What these entries share; written by the index alone."""

    @property
    def session_id(self) -> str:
        """Id of this connection, unique per process."""
        return self.ident.session_id

    def slot(self, model: str) -> Slot:
        """Return the slot of a model, or an empty one."""
        return self.slots.get(model, NO_SLOT)

    def touch(self) -> None:
        """Note a change that no gate before 19 reads."""
        self.version += 1

    def touch_slow(self) -> None:
        """Note a change that may alter eligibility."""
        self.version += 1
        self.slow_version += 1
