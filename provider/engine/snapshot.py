"""A consistent view of the engine, published by the engine thread after every step and command."""

import enum

import msgspec


class SlotState(enum.StrEnum):
    """State of one attached model as the wire names it."""

    RUNNING = "running"
    IDLE = "idle"
    RELOADING = "reloading"
    CRASHED = "crashed"


class SlotSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One attached model. Token figures are charged tokens: prompt + maximum output, as the cache rectangle costs.

    Instants are on the engine's clock (``time.monotonic``), in seconds; speeds are None before the first measurement.
    """

    model: str
    state: SlotState
    running: int
    waiting: int
    paused: int
    max_concurrency: int
    active_tokens: int
    max_tokens_potential: int
    budget_used: int
    budget_max: int
    queued_budget: int
    kv_bytes_per_token: int
    weight_bytes: int
    decode_tps: float | None
    prefill_tps: float | None
    load_time_ms: float
    steps_executed: int
    admits: int
    first_tokens_emitted: int
    last_step_at: float | None
    last_first_token_at: float | None
    last_used_at: float


class EngineSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All slots at one moment; `version` grows with every publication, `change` only when a reader should look.

    `faults` counts what ended rows since the start of the process: exceptions of generators, deaths of the thread.
    """

    version: int = 0
    change: int = 0
    at: float = 0.0
    faults: int = 0
    slots: tuple[SlotSnapshot, ...] = ()

    def slot(self, model: str) -> SlotSnapshot | None:
        """Return the slot of a model, or None if it is not attached."""
        for slot in self.slots:
            if slot.model == model:
                return slot
        return None

    def in_state(self, state: SlotState) -> "EngineSnapshot":
        """Return the same figures with every slot in one state and no rows."""
        slots = tuple(msgspec.structs.replace(slot, state=state, running=0, waiting=0) for slot in self.slots)
        return msgspec.structs.replace(self, slots=slots)
