"""Works that share one resource in equal parts: one number tells how far all of them are.

Invariant: the pace is the same for all, so the work whose end lies lowest ends first; no other one is looked at.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.sim.work import Work


class Shared:
    """`pace` is the work done per second on each; `done` what was done on one that was there from the beginning."""

    __slots__ = ("_ends", "_heap", "_sequence", "done", "pace")

    def __init__(self) -> None:
        self.done = 0.0
        self.pace = 0.0
        self._heap: list[tuple[float, int, Work]] = []
        self._ends: dict[str, float] = {}
        self._sequence = 0

    @property
    def count(self) -> int:
        """How many share the resource."""
        return len(self._ends)

    @property
    def first(self) -> Work:
        """The work that ends next."""
        return self._heap[0][2]

    def add(self, work: Work, amount: float) -> None:
        """Begin a work of this amount."""
        end = self.done + amount
        self._ends[work.request_id] = end
        self._sequence += 1
        heappush(self._heap, (end, self._sequence, work))

    def remove(self, work: Work) -> None:
        """Take a work out, finished or not."""
        del self._ends[work.request_id]
        heap = self._heap
        while heap and heap[0][2].request_id not in self._ends:
            heappop(heap)

    def pop(self) -> Work:
        """Take out the work that ends next."""
        work = self.first
        self.remove(work)
        return work

    def left(self, work: Work) -> float:
        """Work that is left to do."""
        return self._ends[work.request_id] - self.done

    def advance(self, seconds: float) -> None:
        """Let time pass at the present pace."""
        self.done += seconds * self.pace

    def next_in(self) -> float | None:
        """Seconds until the next work ends, None while nothing moves."""
        if not self._heap or self.pace <= 0:
            return None
        return max(0.0, self._heap[0][0] - self.done) / self.pace

    def clear(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._ends.clear()
        self.pace = 0.0
