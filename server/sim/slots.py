"""One model on a simulated machine, and the memory rule that all its models share."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.sim.catalog import SimModel
    from server.sim.work import Work

ACTIVATION_GIB: Final = 3.0
CAP_FRACTION: Final = 0.90
OPERATOR_GIB: Final = 4.0


class Residence(Enum):
    """The words of a slot's state on the wire that a simulated machine uses."""

    LOADING = "reloading"
    RESIDENT = "resident"


class ModelSlot:
    """What runs and waits of one model; rates are what the machine measured, 0 before the first answer."""

    __slots__ = (
        "decode_tps",
        "last_used",
        "load_seconds",
        "loaded_at",
        "model",
        "prefill_tps",
        "queued",
        "residence",
        "running",
        "used",
        "waiting",
    )

    def __init__(self, model: SimModel, residence: Residence) -> None:
        self.model = model
        self.residence = residence
        self.waiting: deque[Work] = deque()
        self.running = 0
        self.used = 0
        self.queued = 0
        self.decode_tps: float | None = None
        self.prefill_tps: float | None = None
        self.load_seconds = 0.0
        self.loaded_at = 0.0
        self.last_used = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether the model may be evicted."""
        return self.residence is Residence.RESIDENT and not self.running and not self.waiting

    @property
    def is_unused(self) -> bool:
        """Whether the model was loaded for nothing so far."""
        return self.load_seconds > 0 and self.last_used <= self.loaded_at

    @property
    def wire_state(self) -> str:
        """The state as a report spells it."""
        if self.residence is Residence.LOADING:
            return "reloading"
        return "running" if self.running else "idle"

    def clear(self) -> None:
        """Forget everything that ran or waited."""
        self.waiting.clear()
        self.running = self.used = self.queued = 0


def pool_bytes(memory_gib: float, models: Iterable[SimModel]) -> int:
    """Bytes for tokens beside these models: the cap of the machine less padded weights and activations, or nothing."""
    cap = min(CAP_FRACTION * memory_gib, memory_gib - OPERATOR_GIB)
    return max(0, int((cap - sum(model.load_gib for model in models) - ACTIVATION_GIB) * 2**30))


def free_for_load_gib(memory_gib: float, models: Iterable[SimModel], used_bytes: int) -> float:
    """Largest padded weights in GiB that may load beside these models and the tokens in use."""
    cap = min(CAP_FRACTION * memory_gib, memory_gib - OPERATOR_GIB)
    resident = sum(model.load_gib for model in models)
    return max(0.0, cap - resident - used_bytes / 2**30 - ACTIVATION_GIB - 1.0)
