"""One model's machines in numbers: warm, busy, idle, and how fast they typically are.

The counts are the index's running sums. Speeds are medians over a sample: a median cannot be kept as a running sum.
Source: routing, warm-pool controller.
"""

from __future__ import annotations

from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from server.registry.admission import provider_cap
from server.registry.rates import prefill_tps, registered_prefill_tps, static_tps
from server.registry.state import SlotState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.pool.fleet_reader import FleetReader
    from server.registry.gates import GateContext
    from server.registry.state import Session

WALK_MAX: Final = 2_048
"""Machines that a controller looks at in one go; a larger fleet is judged by this many of them."""
SAMPLE: Final = 128
"""Warm machines whose speeds stand for all."""


class ModelSummary(Struct, frozen=True, kw_only=True):
    """Machines that may serve a model; rates are medians over warm ones in tokens/s, 0 without any.

    `saturated` ones are warm and have no place left. `cap` is what a warm machine typically holds at once,
    `load_factor` how much one more request slows the others there.
    """

    warm: int = 0
    saturated: int = 0
    running: int = 0
    waiting: int = 0
    decode_tps: float = 0.0
    prefill_tps: float = 0.0
    cap: int = 0
    load_factor: float = 0.0


EMPTY: Final = ModelSummary()


def summarise(model: str, fleet: FleetReader) -> ModelSummary:
    """Sum up the machines that offer a model."""
    pool = fleet.pool(model)
    if pool is None:
        return EMPTY
    sample = fleet.offering(model) if pool.warm else ()
    decode, prefill, cap, factor = _typical(model, sample, fleet.gate_context)
    return ModelSummary(
        warm=pool.warm,
        saturated=pool.saturated_warm,
        running=pool.running,
        waiting=pool.waiting,
        decode_tps=decode,
        prefill_tps=prefill,
        cap=cap,
        load_factor=factor,
    )


def _typical(model: str, sessions: Iterable[Session], context: GateContext) -> tuple[float, float, int, float]:
    """Median decode and prefill rate, concurrency and load factor of some machines that have the model warm."""
    warm = (one for one in islice(sessions, WALK_MAX) if one.slot(model).state is SlotState.RESIDENT)
    decode: list[float] = []
    prefill: list[float] = []
    caps: list[int] = []
    factors: list[float] = []
    for session in islice(warm, SAMPLE):
        slot, static = session.slot(model), static_tps(session.caps)
        decode.append(context.rates.solo(session, model, context.policy) or static)
        prefill.append(prefill_tps(slot, registered_prefill_tps(session.caps, static, context.policy)))
        caps.append(slot.max_concurrency or provider_cap(session))
        factors.append(context.rates.load_factor(session, model, context.policy.load_factor))
    if not decode:
        return 0.0, 0.0, 0, 0.0
    return median(decode), median(prefill), int(median(caps)), median(factors)
