"""Who may take memory: pending loads hold promises, caches get what is left.

Invariant: `try_promise` checks and takes in one step without a checkpoint, so two loads cannot share the same bytes.
Invariant: while `is_closed`, nothing may be taken: no headroom, no load, and that is what reports say.
Writers are on the trio thread; `headroom` only reads and may be called from the engine thread.
"""

import bisect
from dataclasses import dataclass

from provider.memory import policy
from provider.memory.allocator import Allocator
from provider.memory.policy import PolicySettings, Reserves
from provider.memory.system import SystemMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReading:
    """One look at the machine, in bytes."""

    physical: int
    available: int
    active: int
    cached: int
    peak: int

    @property
    def used(self) -> int:
        """What the allocator holds in all."""
        return self.active + self.cached


class MemoryPromise:
    """Bytes set aside for a pending load; released once, when the weights are visible in the allocator."""

    def __init__(self, gate: "MemoryGate", size: int) -> None:
        self._gate = gate
        self.size = size

    def release(self) -> None:
        """Give the bytes back; idempotent."""
        self._gate.drop_promise(self)


class MemoryGate:
    """The memory policy applied to this process."""

    def __init__(self, system: SystemMemory, allocator: Allocator, settings: PolicySettings | None = None) -> None:
        self.is_closed = False
        self._system = system
        self._allocator = allocator
        self._settings = settings or PolicySettings()
        self._promises: set[MemoryPromise] = set()
        self._largest = 0
        self._physical = system.physical()

    @property
    def promised(self) -> int:
        """Bytes of all pending loads."""
        return sum(promise.size for promise in tuple(self._promises))

    def read(self) -> MemoryReading:
        """Measure now."""
        return MemoryReading(
            physical=self._physical,
            available=self._system.available(),
            active=self._allocator.active(),
            cached=self._allocator.cached(),
            peak=self._allocator.peak(),
        )

    def note_largest(self, weight_bytes: int) -> None:
        """Tell the size of the largest resident model (0: none); it decides the reserves."""
        self._largest = weight_bytes

    def reserves(self, candidate: int = 0) -> Reserves:
        """Reserves with a further model of `candidate` bytes beside the resident ones."""
        return policy.reserves_for(self._physical, max(self._largest, candidate), self._settings)

    def headroom(self) -> int:
        """Bytes that caches may still take, pending loads subtracted."""
        if self.is_closed:
            return 0
        reading, reserves = self.read(), self.reserves()
        cap = policy.effective_cap(reading.physical, self._settings.cap_fraction, reserves)
        live = policy.live_kv_headroom(cap, reading.used, reading.available, reserves)
        return max(0, live - self.promised)

    def free_for_load(self, *, candidate: int = 0, reclaimable: int = 0) -> int:
        """Bytes that a load may take after `reclaimable` bytes were given back; headroom still included."""
        return self._free_for_load(self.read(), candidate, reclaimable)

    def _free_for_load(self, reading: MemoryReading, candidate: int, reclaimable: int) -> int:
        if self.is_closed:
            return 0
        return policy.free_for_load(
            reading.physical,
            reading.used,
            reading.available,
            promises=self.promised,
            fraction=self._settings.cap_fraction,
            reserves=self.reserves(candidate),
            reclaimable=reclaimable,
        )

    def largest_load(self, *, reclaimable: int) -> int:
        """Largest padded weights that `may_load` would accept now; the reserves depend on the size asked for."""
        reading = self.read()
        usual = self._free_for_load(reading, policy.SMALL_MODEL, reclaimable)
        largest = usual - self.reserves(policy.SMALL_MODEL).load_headroom
        if largest >= policy.SMALL_MODEL:
            return largest
        small = range(1, policy.SMALL_MODEL)
        return bisect.bisect_left(small, True, key=lambda padded: not self._fits(reading, padded, reclaimable))

    def may_load(self, padded: int, *, reclaimable: int = 0) -> bool:
        """Whether a model of this padded size fits after giving back `reclaimable` bytes."""
        return self._fits(self.read(), padded, reclaimable)

    def _fits(self, reading: MemoryReading, padded: int, reclaimable: int) -> bool:
        return policy.may_load(padded, self._free_for_load(reading, padded, reclaimable), self.reserves(padded))

    def try_promise(self, padded: int) -> MemoryPromise | None:
        """Set aside memory for a load, or None if it does not fit."""
        if not self.may_load(padded):
            return None
        promise = MemoryPromise(self, padded)
        self._promises.add(promise)
        return promise

    def drop_promise(self, promise: MemoryPromise) -> None:
        """Forget a promise; unknown ones are ignored."""
        self._promises.discard(promise)

    def is_serveable(self) -> bool:
        """Whether enough cache remains beside the resident models, measured after clearing the allocator cache."""
        self._allocator.clear_cache()
        reading, reserves = self.read(), self.reserves()
        cap = policy.effective_cap(reading.physical, self._settings.cap_fraction, reserves)
        live = policy.live_kv_headroom(cap, reading.used, reading.available, reserves)
        return policy.is_serveable(live, self.promised, reserves)

    def limit_allocator(self) -> None:
        """Tell the allocator its soft limits; called after the first load, when the library is there."""
        self._allocator.set_limits(*policy.allocator_limits(self._physical))

    def clear_cache(self) -> None:
        """Give freed buffers back to the system."""
        self._allocator.clear_cache()

    def trim_cache(self) -> bool:
        """Clear the allocator cache if it exceeds half of its limit; called on each capacity tick."""
        _, limit = policy.allocator_limits(self._physical)
        if self._allocator.cached() <= limit // 2:
            return False
        self._allocator.clear_cache()
        return True
