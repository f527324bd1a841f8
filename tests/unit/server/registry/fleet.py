"""Builders of sessions, messages and small fleets for the registry's tests."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from protocol.messages.from_provider import (
    BackendCapacity,
    Hardware,
    Heartbeat,
    ModelEntry,
    Register,
    Stats,
    SystemMetrics,
)
from protocol.messages.from_provider import Slot as WireSlot
from server.ports import TrustState
from server.registry import Registry, RoutedRequest, RoutingPolicy
from server.registry.state import Budget, Caps, Ident, Live, ModelAd, Session, Slot, SlotState
from server.registry.state import Hardware as StoredHardware

KEY = bytes(range(32))
MODEL = "m"


class FakeChannel:
    """A provider connection that only remembers what was asked of it."""

    def __init__(self, session_id: str = "s", public_key: bytes = KEY) -> None:
        self.session_id = session_id
        self.public_key = public_key
        self.aborts: list[tuple[int, str]] = []
        self.hastened = 0
        self.loads: list[str] = []

    def load_model(self, model: str) -> None:
        self.loads.append(model)

    def challenge_soon(self) -> None:
        self.hastened += 1

    def abort(self, code: int, reason: str) -> None:
        self.aborts.append((code, reason))


class Clock:
    """A clock that stands still unless told."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def trusted(now: float = 1_000.0, **changes: object) -> TrustState:
    """A session that passed everything at `now`."""
    state = TrustState(
        level="hardware",
        verified_at=now,
        attested=True,
        runtime_verified=True,
        runtime_manifest_checked=True,
        challenge_verified_sip=True,
        private_text=True,
        admitted=True,
    )
    return replace(state, **changes)  # type: ignore[arg-type]


def request(number: int = 1, **fields: object) -> RoutedRequest:
    """A plain public request for 100 + 100 tokens."""
    values: dict[str, object] = {
        "request_id": f"r{number}",
        "logical_id": f"l{number}",
        "model": MODEL,
        "prompt_tokens": 100,
        "max_tokens": 100,
        "account_id": "consumer",
    }
    return RoutedRequest(**{**values, **fields})  # type: ignore[arg-type]


def slot(
    state: SlotState = SlotState.RESIDENT, *, budget: tuple[int, int, int] | None = None, **fields: object
) -> Slot:
    """A slot; the budget is (max, used, queued)."""
    values: dict[str, object] = {"model": MODEL, "state": state, **fields}
    if budget is not None:
        values["budget"] = Budget(*budget)
    return Slot(**values)  # type: ignore[arg-type]


def session(
    *slots: Slot,
    session_id: str = "s",
    models: tuple[ModelAd, ...] = (ModelAd(id=MODEL),),
    decode_tps: float = 90.0,
    prefill_tps: float = 0.0,
    bandwidth: float = 0.0,
    memory_gb: float = 64.0,
    has_capacity: bool = True,
    trust: TrustState | None = None,
    live: dict[str, object] | None = None,
    caps: dict[str, object] | None = None,
    ident: dict[str, object] | None = None,
) -> Session:
    """A session record for the pure functions, eligible unless told otherwise."""
    return Session(
        ident=Ident(**{"session_id": session_id, "stable_id": f"dev-{session_id}", **(ident or {})}),  # type: ignore[arg-type]
        channel=FakeChannel(session_id),  # type: ignore[arg-type]
        caps=Caps(
            **{  # type: ignore[arg-type]
                "hardware": StoredHardware(
                    chip_family="M3", chip_tier="Max", memory_gb=memory_gb, memory_bandwidth_gbs=bandwidth
                ),
                "models": {ad.id: ad for ad in models},
                "offered": models,
                "backend": "mlx-swift",
                "version": "0.6.31",
                "public_key": KEY,
                "encrypted_chunks": True,
                "decode_tps": decode_tps,
                "prefill_tps": prefill_tps,
                **(caps or {}),
            }
        ),
        trust=trust if trust is not None else trusted(),
        live=Live(
            **{  # type: ignore[arg-type]
                "last_heartbeat": 1_000.0,
                "has_capacity": has_capacity,
                "total_memory_gb": memory_gb if has_capacity else 0.0,
                **(live or {}),
            }
        ),
        slots={one.model: one for one in slots},
    )


def wire_slot(model: str = MODEL, state: str = "idle", **fields: object) -> WireSlot:
    """A slot as a provider reports it."""
    return WireSlot(model=model, state=state, **fields)  # type: ignore[arg-type]


def heartbeat(
    *slots: WireSlot,
    capacity: bool = True,
    seq: int = 0,
    status: str = "idle",
    memory_gb: float = 64.0,
    free_for_load: float | None = None,
    stats: tuple[int, int] = (0, 0),
    **fields: object,
) -> Heartbeat:
    """A heartbeat; without `capacity` it is a legacy one."""
    report = None
    if capacity:
        report = BackendCapacity(
            slots=slots, total_memory_gb=memory_gb, capacity_seq=seq, free_for_load_gb=free_for_load
        )
    values: dict[str, object] = {
        "status": status,
        "stats": Stats(requests_served=stats[0], tokens_generated=stats[1]),
        "system_metrics": SystemMetrics(thermal_state="nominal"),
        "backend_capacity": report,
    }
    return Heartbeat(**{**values, **fields})  # type: ignore[arg-type]


def register_message(*models: ModelEntry, **fields: object) -> Register:
    """A `register` frame of an ordinary reference provider."""
    values: dict[str, object] = {
        "hardware": Hardware(chip_family="M3", chip_tier="Max", memory_gb=64, memory_bandwidth_gbs=400.0),
        "models": models or (ModelEntry(id=MODEL),),
        "backend": "mlx-swift",
        "version": "0.6.31",
        "encrypted_response_chunks": True,
        "decode_tps": 90.0,
    }
    return Register(**{**values, **fields})  # type: ignore[arg-type]


class Fleet:
    """A registry with a clock of its own."""

    def __init__(self, **options: object) -> None:
        self.clock = Clock()
        policy = options.pop("policy", None) or RoutingPolicy(quality_cap=False)
        self.registry = Registry(clock=self.clock, policy=policy, random=Random(7), **options)  # type: ignore[arg-type]

    @property
    def now(self) -> float:
        return self.clock.now

    def connect(
        self,
        session_id: str,
        *,
        message: Register | None = None,
        trust: TrustState | None = None,
        account_id: str | None = None,
        stable_id: str | None = None,
        public_key: bytes = KEY,
        **options: object,
    ) -> Session:
        """Register a session, trusted by default, without any heartbeat yet."""
        return self.registry.register(
            session_id=session_id,
            message=message if message is not None else register_message(),
            channel=FakeChannel(session_id, public_key),  # type: ignore[arg-type]
            stable_id=stable_id if stable_id is not None else f"dev-{session_id}",
            account_id=account_id,
            trust=trust if trust is not None else trusted(self.now),
            now=self.now,
            **options,  # type: ignore[arg-type]
        )

    def beat(self, session_id: str, *slots: WireSlot, **fields: object) -> bool:
        """Apply a heartbeat now."""
        return self.registry.heartbeat(session_id, heartbeat(*slots, **fields), self.now)  # type: ignore[arg-type]

    def warm(self, session_id: str, *, concurrency: int = 0, budget: int = 100_000, **fields: object) -> Session:
        """Connect a session with the model resident and idle."""
        one = self.connect(session_id, **fields)
        self.beat(session_id, wire_slot(max_concurrency=concurrency, active_token_budget_max=budget))
        return one
