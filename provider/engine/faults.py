"""What an exception out of a generator means for its slot."""

from collections import deque

ALLOCATOR_MARKS = ("Resource limit", "Insufficient Memory", "malloc", "Unable to allocate", "out of memory")
HALVED_SECONDS = 600.0


def is_allocator_fault(error: BaseException) -> bool:
    """Whether the text is one of the allocator's; only the class of the fault leaves this function."""
    text = str(error)
    return any(mark in text for mark in ALLOCATOR_MARKS)


class FaultLog:
    """Faults of one slot in a sliding window; enough of them mean that the model must be loaded again."""

    def __init__(self, *, window_seconds: float, limit: int) -> None:
        self._window = window_seconds
        self._limit = limit
        self._at: deque[float] = deque()
        self._halved_until = float("-inf")

    def add(self, now: float, *, allocator: bool) -> bool:
        """Record a fault; True if the slot has crashed. An allocator fault halves the rows for ten minutes."""
        self._at.append(now)
        while self._at[0] <= now - self._window:
            self._at.popleft()
        if allocator:
            self._halved_until = now + HALVED_SECONDS
        return len(self._at) >= self._limit

    def cap(self, rows: int, now: float) -> int:
        """Rows that may run now, at least one."""
        return max(1, rows // 2) if now < self._halved_until else rows
