"""Whether a provider has room for a request: concurrency, token budget, shared pool, memory, hardware."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from server.registry.pair_faults import NO_FAULTS
from server.registry.reasons import Reason
from server.registry.state import SlotState
from server.registry.views import in_flight, in_flight_total, total_memory_gb

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.catalog import Catalog
    from server.registry.ledger import LedgerSums
    from server.registry.pair_faults import PairFaults
    from server.registry.policy import RoutingPolicy
    from server.registry.state import Budget, ModelAd, Session, Slot

GIB: Final = 2**30
DEFAULT_KV_RATE: Final = 400_000
"""KV bytes per token assumed for a model that reports none."""
MAX_NEED: Final = 16 * 2**20
UNLIMITED: Final = 1 << 38
"""More tokens than anyone asks for."""
NO_ROOM: Final = -1
LEGACY_CONCURRENCY: Final = 4
BUDGETED_CONCURRENCY: Final = 24
"""Safety valve; the token budget does the work."""
LOAD_HEADROOM_GB: Final = 4.0
"""3 GiB of activations and 1 GiB of KV cache that a load must leave."""
SMALL_MODEL_GB: Final = 0.1
SMALL_RESERVE_GB: Final = 64 / 1024


def provider_cap(session: Session) -> int:
    """Most requests the provider may hold at once, over all models."""
    if not session.live.has_capacity:
        return LEGACY_CONCURRENCY
    for slot in session.slots.values():
        if slot.budget is not None and slot.budget.max > 0:
            return BUDGETED_CONCURRENCY
    memory = total_memory_gb(session)
    for limit, cap in ((24, 2), (48, 4), (96, 6), (128, 8)):
        if memory <= limit:
            return cap
    return 12


def quality_concurrency(base: int, solo: float, floor_tps: float, load_factor: float) -> int:
    """Streams that still run at `floor_tps` each, 1..base; `base` when floor, solo rate or k is unknown (0)."""
    if floor_tps <= 0 or solo <= 0 or load_factor <= 0:
        return base
    return min(base, max(1, math.floor((solo / floor_tps - 1) / load_factor)))


def quality_capped(base: int, solo: float, floor_tps: float, load_factor: float, overcommit: float) -> int:
    """Concurrency cap that keeps streams readable, with a little overcommitment."""
    return min(base, math.ceil(quality_concurrency(base, solo, floor_tps, load_factor) * overcommit))


def model_cap(slot: Slot, cap: int, solo: float, policy: RoutingPolicy) -> int:
    """Most requests of one model the provider may hold at once; `solo` is its single-stream rate, 0 when unknown."""
    base = slot.max_concurrency or cap
    if not policy.quality_cap:
        return base
    return quality_capped(base, solo, policy.min_decode_tps, policy.load_factor, policy.overcommit)


def has_concurrency(session: Session, slot: Slot, model: str, *, solo: float, policy: RoutingPolicy) -> bool:
    """Whether one more request keeps both caps."""
    cap = provider_cap(session)
    if in_flight_total(session) >= cap:
        return False
    busy = in_flight(session, model)
    # Every cap is at least 1.
    return busy == 0 or busy < model_cap(slot, cap, solo, policy)


def fits_hardware(size_gb: float, min_ram_gb: float, memory_gb: float) -> bool:
    """Whether the machine can ever hold the model; unknown figures fit."""
    if memory_gb <= 0:
        return True
    if min_ram_gb > 0:
        return min_ram_gb <= memory_gb
    return size_gb <= 0 or 2 * size_gb <= memory_gb


def unaccounted_tokens(sums: LedgerSums, slot: Slot) -> int:
    """Reserved tokens of a model that the provider's last report does not contain yet.

    With numbered reports each reservation knows whether it is contained. Without numbers a report may be older than the
    sign it follows, so only the totals are compared.
    """
    if slot.as_of_seq > 0:
        return sums.unreflected
    return max(0, sums.tokens - committed_tokens(slot))


def committed_tokens(slot: Slot) -> int:
    """Tokens the report holds for its requests: the larger of reserved now and worst-case growth."""
    reserved = slot.budget.used + slot.budget.queued if slot.budget is not None else 0
    return max(reserved, slot.potential)


def budget_room(budget: Budget, unaccounted: int, ceiling: int | None = None) -> int:
    """Tokens that the slot's budget still holds; a learnt ceiling bounds what the provider advertises."""
    most = budget.max if ceiling is None else min(budget.max, ceiling)
    return most - budget.used - budget.queued - unaccounted


def pool_room(session: Session, model: str) -> int:
    """Tokens of the model that the machine as a whole still holds beside all resident models.

    Counted in bytes when every resident slot reports its KV rate, otherwise in tokens. A model that is not resident is
    charged to the same pool. No resident budget: nothing to check.
    """
    if session.slots.keys() <= {model} and session.ledger.by_model.keys() <= {model}:
        return UNLIMITED  # alone on the machine: the slot's own budget is the pool
    slots = [s for s in session.slots.values() if s.state is SlotState.RESIDENT and s.budget is not None]
    budgets = [(s, s.budget) for s in slots if s.budget is not None and s.budget.max > 0]
    if not budgets:
        return UNLIMITED
    in_bytes = all(s.kv_rate > 0 for s, _ in budgets)
    cold_rate = max(DEFAULT_KV_RATE, *(s.kv_rate for s, _ in budgets)) if in_bytes else 1

    def rate(name: str) -> int:
        slot = session.slot(name)
        return slot.kv_rate if in_bytes and slot.kv_rate > 0 and slot.state is SlotState.RESIDENT else cold_rate

    used = sum((b.used + b.queued) * rate(s.model) for s, b in budgets)
    if session.caps.private_grants:
        total = sum(b.max * rate(s.model) for s, b in budgets)
    else:
        total = used + max((b.max - b.used - b.queued) * rate(s.model) for s, b in budgets)
    return (total - used - _unaccounted_in_pool(session, rate)) // rate(model)


def _unaccounted_in_pool(session: Session, rate: Callable[[str], int]) -> int:
    if any(slot.as_of_seq > 0 for slot in session.slots.values()):
        return sum(sums.unreflected * rate(name) for name, sums in session.ledger.by_model.items())
    pending = sum(sums.tokens * rate(name) for name, sums in session.ledger.by_model.items())
    committed = sum(
        committed_tokens(slot) * rate(name) for name, slot in session.slots.items() if slot.state is SlotState.RESIDENT
    )
    return max(0, pending - committed)


def activation_reserve_gb(size_gb: float, usual_gb: float) -> float:
    """Memory a load keeps for activations in GiB; tiny models need little, others what is usual on the machine."""
    if 0 < size_gb < SMALL_MODEL_GB:
        return max(SMALL_RESERVE_GB, 4 * size_gb * 1e9 / GIB)
    return usual_gb


def cold_budget_tokens(memory_gb: float, load_gib: float, kv_rate: int, reserve_gb: float) -> int:
    """Tokens a machine could hold after loading the model: 90 % of its memory less padded weights and reserve."""
    free = 0.90 * memory_gb - load_gib - reserve_gb
    return max(0, math.floor(free * GIB / (kv_rate or DEFAULT_KV_RATE)))


def kv_room(free_gib: float) -> int:
    """Tokens whose KV cache fits into free memory at the default rate; a longer need is never charged more."""
    room = math.floor(free_gib * GIB / DEFAULT_KV_RATE)
    return UNLIMITED if room >= MAX_NEED else room


def memory_room(session: Session, ad: ModelAd, slot: Slot, catalog: Catalog) -> int:
    """Memory rule for a model without a token budget; unknown size or memory holds everything."""
    size = catalog.size_gb(ad)
    memory = total_memory_gb(session)
    if size <= 0 or memory <= 0:
        return UNLIMITED
    live = session.live
    if slot.state is SlotState.RESIDENT:
        return kv_room(memory - live.gpu_active_gb)
    if session.ledger.entries:
        # A provider that serves something cannot evict it: weights and cache must fit beside it.
        return kv_room(memory - live.gpu_active_gb - size)
    load = catalog.load_gib(ad)
    if live.free_for_load_gb is not None:
        if load > live.free_for_load_gb:
            return NO_ROOM
        reserve = activation_reserve_gb(size, session.caps.activation_gb)
        return cold_budget_tokens(memory, load, slot.kv_rate, reserve)
    if size < SMALL_MODEL_GB:
        return kv_room(memory - size - activation_reserve_gb(size, session.caps.activation_gb))
    return kv_room(min(0.90 * memory, memory - LOAD_HEADROOM_GB) - size)


def largest_need(session: Session, ad: ModelAd, slot: Slot, *, catalog: Catalog, faults: PairFaults = NO_FAULTS) -> int:
    """Return the largest need (prompt + output tokens) that budget, pool and memory hold; negative for none."""
    if faults.clamped:
        return NO_ROOM
    model = ad.id
    budget = slot.budget if slot.state is SlotState.RESIDENT else None
    if budget is None:
        return min(pool_room(session, model), memory_room(session, ad, slot, catalog))
    if budget.max <= 0:
        return NO_ROOM
    own = budget_room(budget, unaccounted_tokens(session.ledger.sums(model), slot), faults.ceiling)
    return min(own, pool_room(session, model))


def admit(
    session: Session,
    ad: ModelAd,
    slot: Slot,
    need: int,
    *,
    catalog: Catalog,
    solo: float,
    policy: RoutingPolicy,
    faults: PairFaults = NO_FAULTS,
) -> Reason | None:
    """Return why the provider has no room for `need` tokens of the model, or None.

    A machine that can never hold the model is told apart from one that is only full, whatever its load. `solo` is the
    single-stream rate that the quality cap starts from.
    """
    model = ad.id
    resident = slot.state is SlotState.RESIDENT
    if not resident and not fits_hardware(catalog.size_gb(ad), catalog.min_ram_gb(model), total_memory_gb(session)):
        return Reason.MODEL_TOO_LARGE
    if not has_concurrency(session, slot, model, solo=solo, policy=policy):
        return Reason.NO_HEADROOM
    return Reason.FREE_MEMORY if need > largest_need(session, ad, slot, catalog=catalog, faults=faults) else None
