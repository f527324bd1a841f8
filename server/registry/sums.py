"""Running sums of a pool: what the capacity feed, the warm pool and the early refusals ask, without looking at anyone.

Invariant: the totals equal a recount over the entries at any time.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from operator import add, sub
from typing import TYPE_CHECKING, Final, NamedTuple

from server.registry.reasons import Reason
from server.registry.servability import structural_budget
from server.registry.state import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.catalog import Catalog
    from server.registry.entry import Entry

PROBE_PROMPT: Final = 500
COLD_MS: Final = 20_000
_SLACK: Final = 64


class Part(NamedTuple):
    """What one eligible entry adds; rates in thousandths of a token per second, budgets in tokens.

    `free` are the places that a warm provider still has, `idle` tells that it has nothing in flight, `saturated` that
    it has no place left. `unknown` counts providers whose largest budget nobody knows.
    """

    warm: int = 0
    cold: int = 0
    busy: int = 0
    active: int = 0
    in_engine: int = 0
    queued: int = 0
    milli_tps: int = 0
    budget: int = 0
    budget_left: int = 0
    routable: int = 0
    free: int = 0
    idle: int = 0
    saturated: int = 0
    unknown: int = 0


NOTHING: Final = Part()


class Extreme:
    """The smallest figure over the entries that still say so; outdated ones are dropped when they come up."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []

    def push(self, value: int, epoch: int) -> None:
        """Enter what an entry says now."""
        heappush(self._heap, (value, epoch))

    def least(self, says: Callable[[int], int | None], members: int) -> int | None:
        """Return the smallest figure; `says` gives what an entry says now."""
        heap = self._heap
        if len(heap) > 2 * members + _SLACK:
            heap = self._heap = list({(value, epoch) for value, epoch in heap if says(epoch) == value})
            heapify(heap)
        while heap and says(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def __len__(self) -> int:
        return len(self._heap)


class PoolSums:
    """The totals over all eligible entries, and the best first-token estimates and largest budget among them."""

    __slots__ = ("_budgets", "_cold", "_members", "_warm", "total")

    def __init__(self, members: dict[int, Entry]) -> None:
        self.total = NOTHING
        self._members = members
        self._warm = Extreme()
        self._cold = Extreme()
        self._budgets = Extreme()

    def follow(self, entry: Entry, catalog: Catalog) -> None:
        """Replace what an entry added before by what it adds now."""
        part = part_of(entry, catalog) if is_eligible(entry) else NOTHING
        before = entry.part
        if part == before:
            return
        self.total = Part(*map(add, map(sub, self.total, before), part))
        entry.part = part
        if part is NOTHING:
            return
        (self._warm if part.warm else self._cold).push(entry.estimate_ms, entry.epoch)
        if not part.unknown:
            self._budgets.push(-entry.ceiling, entry.epoch)
        self._compact()

    def leave(self, entry: Entry) -> None:
        """Take away what an entry added."""
        if entry.part is not NOTHING:
            self.total = Part(*map(sub, self.total, entry.part))
            entry.part = NOTHING

    def estimated_ttft_ms(self) -> int:
        """First-token estimate of the best warm provider, else of the best cold one, else 0."""
        count = len(self._members)
        best = self._warm.least(self._warm_estimate, count)
        if best is None:
            best = self._cold.least(self._cold_estimate, count)
        return best or 0

    def largest_budget(self) -> int | None:
        """Tokens that the largest eligible provider could hold of the model alone; None: of some it is not known."""
        if self.total.unknown:
            return None
        found = self._budgets.least(self._budget, len(self._members))
        return 0 if found is None else -found

    def _warm_estimate(self, epoch: int) -> int | None:
        entry = self._members.get(epoch)
        return entry.estimate_ms if entry is not None and entry.part.warm else None

    def _cold_estimate(self, epoch: int) -> int | None:
        entry = self._members.get(epoch)
        return entry.estimate_ms if entry is not None and entry.part.cold else None

    def _budget(self, epoch: int) -> int | None:
        entry = self._members.get(epoch)
        return -entry.ceiling if entry is not None and entry.part is not NOTHING and not entry.part.unknown else None

    def _compact(self) -> None:
        """Bound the heaps where nobody asks for their top."""
        count = len(self._members)
        for heap, says in (
            (self._warm, self._warm_estimate),
            (self._cold, self._cold_estimate),
            (self._budgets, self._budget),
        ):
            if len(heap) > 2 * count + _SLACK:
                heap.least(says, count)


def is_eligible(entry: Entry) -> bool:
    """Whether the entry counts in public: every gate passes for a small request, room aside."""
    gates = entry.gates
    return (
        gates is not None
        and gates.is_public
        and gates.sick is None
        and not gates.error_shapes
        and entry.late in (None, Reason.NO_HEADROOM)
    )


def part_of(entry: Entry, catalog: Catalog) -> Part:
    """Work out what an eligible entry adds, and note its estimate and ceiling on it."""
    slot, session, speed = entry.slot, entry.session, entry.speed
    warm = slot.state is SlotState.RESIDENT
    observed = slot.tps_decode
    largest = structural_budget(session, entry.model, catalog)
    entry.ceiling = largest if largest is not None else 0
    prefill = slot.tps_prefill or speed.prefill
    tps = entry.tps
    estimate = math.trunc(PROBE_PROMPT / prefill * 1000) + math.trunc(slot.potential / tps * 1000)
    entry.estimate_ms = estimate if warm else estimate + COLD_MS
    budget = slot.budget if warm else None
    left = _budget_left(entry) if budget is not None else 0
    has_place = entry.late is None
    cooling = entry.gates is not None and entry.gates.cooldown
    routable = has_place and not cooling and entry.room >= 1 and (budget is None or left > 0)
    free = min(entry.limit - entry.occupancy, entry.places) if warm and has_place else 0
    return Part(
        warm,
        not warm,
        warm and slot.running > 0,
        entry.occupancy,
        slot.running,
        slot.waiting,
        round(1000 * (observed or speed.static)),
        budget.max if budget is not None else 0,
        left,
        routable,
        free if routable else 0,
        warm and routable and not entry.in_flight,
        warm and not routable,
        largest is None,
    )


def _budget_left(entry: Entry) -> int:
    """Free tokens of a slot, no more than the machine as a whole has left."""
    budget = entry.slot.budget
    if budget is None:
        return 0
    free = max(0, budget.max - budget.used - budget.queued)
    slots = entry.session.slots
    if len(slots) == 1 or entry.session.caps.private_grants:
        return free
    budgets = [one.budget for one in slots.values() if one.budget is not None]
    return min(free, max((b.max - b.used - b.queued for b in budgets), default=0))
