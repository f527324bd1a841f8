"""Running sums of a pool: what the capacity feed, the warm pool and the early refusals ask, without looking at anyone.

Invariant: the totals equal a recount over the entries at any time.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from operator import add, sub
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from server.registry.servability import structural_budget
from server.registry.state import SlotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.registry.catalog import Catalog
    from server.registry.entry import Entry
    from server.registry.state import Session, Slot

PROBE_PROMPT: Final = 500
COLD_MS: Final = 20_000
_SLACK: Final = 64

Fixed: TypeAlias = tuple[int, ...]
"""What reports change of what an entry adds, in the order of `Total`; empty for an entry that does not count."""
Live: TypeAlias = tuple[int, int, int, int, int]
"""What reservations change of it: the last five members of `Total`."""


class Total(NamedTuple):
    """Sums over all eligible entries; rates in thousandths of a token per second, budgets in tokens.

    `free` are the places that warm providers still have, `idle` counts those with nothing in flight, `saturated` those
    without a place. `unknown` counts providers whose largest budget nobody knows.
    """

    warm: int = 0
    cold: int = 0
    busy: int = 0
    in_engine: int = 0
    queued: int = 0
    milli_tps: int = 0
    budget: int = 0
    budget_left: int = 0
    unknown: int = 0
    active: int = 0
    routable: int = 0
    free: int = 0
    idle: int = 0
    saturated: int = 0


NOTHING: Final[Fixed] = ()
IDLE: Final[Live] = (0, 0, 0, 0, 0)
_FIXED: Final = len(Total()) - len(IDLE)


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
        self.compact(says, members)
        heap = self._heap
        while heap and says(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def compact(self, says: Callable[[int], int | None], members: int) -> None:
        """Bound the heap where nobody asks for its top."""
        if len(self._heap) > 2 * members + _SLACK:
            self._heap = list({(value, epoch) for value, epoch in self._heap if says(epoch) == value})
            heapify(self._heap)


class PoolSums:
    """The totals over all eligible entries, and the best first-token estimates and largest budget among them."""

    __slots__ = ("_budgets", "_cold", "_fixed", "_members", "_warm", "active", "free", "idle", "routable", "saturated")

    def __init__(self, members: dict[int, Entry]) -> None:
        self._fixed: Fixed = (0,) * _FIXED
        self.active = self.routable = self.free = self.idle = self.saturated = 0
        self._members = members
        self._warm = Extreme()
        self._cold = Extreme()
        self._budgets = Extreme()

    @property
    def total(self) -> Total:
        """The present sums."""
        return Total(*(*self._fixed, self.active, self.routable, self.free, self.idle, self.saturated))

    def follow(self, entry: Entry) -> None:
        """Replace what an entry added before by what it adds now."""
        kind = entry.kind
        if kind is None or not kind.public:
            self.leave(entry)
            return
        fixed, counted = entry.fixed, entry.counted
        if fixed is not counted:
            if fixed != counted:
                total = tuple(map(sub, self._fixed, counted)) if counted else self._fixed
                self._fixed = tuple(map(add, total, fixed))
            entry.counted = fixed
            self._note(entry)
        live = _live(entry)
        if live != entry.live:
            self._follow(entry, live)

    def _follow(self, entry: Entry, live: Live) -> None:
        before, entry.live = entry.live, live
        self.active += live[0] - before[0]
        self.routable += live[1] - before[1]
        self.free += live[2] - before[2]
        self.idle += live[3] - before[3]
        self.saturated += live[4] - before[4]

    def _note(self, entry: Entry) -> None:
        """Enter estimate and budget of an entry among the extremes."""
        count = len(self._members)
        if entry.counted[0]:
            self._warm.push(entry.estimate_ms, entry.epoch)
            self._warm.compact(self._warm_estimate, count)
        else:
            self._cold.push(entry.estimate_ms, entry.epoch)
            self._cold.compact(self._cold_estimate, count)
        if not entry.counted[8]:
            self._budgets.push(-entry.ceiling, entry.epoch)
            self._budgets.compact(self._budget, count)

    def leave(self, entry: Entry) -> None:
        """Take away what an entry added."""
        if entry.counted:
            self._fixed = tuple(map(sub, self._fixed, entry.counted))
            entry.counted = NOTHING
            self._follow(entry, IDLE)

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
        return entry.estimate_ms if entry is not None and entry.counted and entry.counted[0] else None

    def _cold_estimate(self, epoch: int) -> int | None:
        entry = self._members.get(epoch)
        return entry.estimate_ms if entry is not None and entry.counted and not entry.counted[0] else None

    def _budget(self, epoch: int) -> int | None:
        entry = self._members.get(epoch)
        return -entry.ceiling if entry is not None and entry.counted and not entry.counted[8] else None


def fixed_part(entry: Entry, catalog: Catalog) -> Fixed:
    """Work out what only reports change of what an entry adds, and note its estimate and ceiling on it."""
    slot, session, speed = entry.slot, entry.session, entry.speed
    warm = slot.state is SlotState.RESIDENT
    estimate = int(PROBE_PROMPT / (slot.tps_prefill or speed.prefill) * 1000) + int(slot.potential / entry.tps * 1000)
    budget = slot.budget
    if budget is not None and budget.max > 0:
        largest: int | None = budget.max
    else:
        largest = structural_budget(session, entry.model, catalog)
    entry.ceiling = largest if largest is not None else 0
    entry.estimate_ms = estimate if warm else estimate + COLD_MS
    rate = round(1000 * (slot.tps_decode or speed.static))
    if not warm:
        return 0, 1, 0, slot.running, slot.waiting, rate, 0, 0, largest is None
    return (
        1,
        0,
        slot.running > 0,
        slot.running,
        slot.waiting,
        rate,
        budget.max if budget is not None else 0,
        _budget_left(session, slot),
        largest is None,
    )


def _live(entry: Entry) -> Live:
    """Work out what reservations change of what an eligible entry adds: active, routable, free, idle, saturated."""
    warm, gates = entry.fixed[0], entry.gates
    routable = (
        entry.late is None
        and entry.room >= 1
        and gates is not None
        and not gates.cooldown
        and (not warm or entry.slot.budget is None or entry.fixed[7] > 0)
    )
    if not warm:
        return entry.occupancy, routable, 0, 0, 0
    if not routable:
        return entry.occupancy, 0, 0, 0, 1
    return entry.occupancy, 1, min(entry.limit - entry.occupancy, entry.places), not entry.in_flight, 0


def _budget_left(session: Session, slot: Slot) -> int:
    """Free tokens of a slot, no more than the machine as a whole has left."""
    budget = slot.budget
    if budget is None:
        return 0
    free = max(0, budget.max - budget.used - budget.queued)
    if len(session.slots) == 1 or session.caps.private_grants:
        return free
    budgets = [one.budget for one in session.slots.values() if one.budget is not None]
    return min(free, max((b.max - b.used - b.queued for b in budgets), default=0))
