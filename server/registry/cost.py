"""Cost v1: what one request would wait on one provider, term by term, in ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.registry.decision import CostTerms
from server.registry.rates import STATE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.registry.ledger import LedgerSums
    from server.registry.state import Live, Slot

QUEUE_MS: Final = 3_000.0
PENDING_MS: Final = 750.0
PRESSURE_MS: Final = 4_000.0
CPU_MS: Final = 1_500.0
GPU_MS: Final = 5_000.0
THERMAL_MS: Final[Mapping[str, float]] = {"fair": 2_000.0, "serious": 8_000.0}
CAPACITY_RATE_MS: Final = 15_000.0


def cost_v1(
    slot: Slot,
    *,
    live: Live,
    total_memory_gb: float,
    sums: LedgerSums,
    pending: int,
    prompt_tokens: int,
    max_tokens: int,
    tps: float,
    prefill: float,
    capacity_rate: float,
) -> CostTerms:
    """Return the terms; `sums` is the ledger of the model, `pending` counts the provider's reservations of all models.

    `tps` is the effective decode rate, `prefill` the registered or derived one (tokens/s); `capacity_rate` is the
    penalised share of capacity refusals, 0 when there is nothing to penalise.
    """
    return CostTerms(
        state=STATE_MS[slot.state],
        queue=QUEUE_MS * max(sums.count, slot.occupancy),
        pending=PENDING_MS * pending,
        backlog=_backlog(slot, sums, max_tokens, tps),
        this_request=1000 * prompt_tokens / prefill + 1000 * max_tokens / tps,
        health=health(live, total_memory_gb),
        capacity_rate=CAPACITY_RATE_MS * capacity_rate,
    )


def _backlog(slot: Slot, sums: LedgerSums, max_tokens: int, tps: float) -> float:
    if slot.budget is not None and slot.budget.max > 0:
        return 1000 * (slot.budget.used + slot.budget.queued) / tps
    waiting = slot.waiting * max_tokens
    unaccounted = max(0, sums.tokens - slot.potential - waiting)
    return 1000 * (slot.potential + waiting + unaccounted) / tps


def health(live: Live, total_memory_gb: float) -> float:
    """Penalty for a machine that is busy, hot or full, in ms."""
    gpu = min(1.0, max(0.0, live.gpu_active_gb / total_memory_gb)) if total_memory_gb > 0 else 0.0
    return (
        PRESSURE_MS * live.memory_pressure + CPU_MS * live.cpu_usage + THERMAL_MS.get(live.thermal, 0.0) + GPU_MS * gpu
    )


def cost_v2(
    *,
    solo: float,
    prefill: float,
    batch: int,
    ahead_tokens: int,
    prompt_tokens: int,
    expected_output: float,
    load_ms: float = 0.0,
    cached_tokens: int = 0,
    load_factor: float,
    health_ms: float = 0.0,
    capacity_rate: float = 0.0,
) -> CostTerms:
    """Expected delivery: twice the time to the first token, the decode time, and what the request costs the others.

    `solo` is the rate of a stream alone and `prefill` the prefill rate (tokens/s); `batch` requests run already, and
    `ahead_tokens` of their prompts have no first token yet. In the terms `state` is the load, `queue` the prompts
    ahead, `pending` the own first token, `this_request` the own prompt, decoding, and the slowdown of the `batch`.
    """
    rate = solo / (1 + load_factor * (batch + 1))
    own = prompt_tokens - cached_tokens
    return CostTerms(
        state=2 * load_ms,
        queue=2 * 1000 * ahead_tokens / prefill,
        pending=2 * 1000 / rate,
        this_request=2 * 1000 * own / prefill
        + 1000 * expected_output / rate
        + 0.5 * batch * expected_output * 1000 * load_factor / solo,
        health=health_ms,
        capacity_rate=CAPACITY_RATE_MS * capacity_rate,
    )
